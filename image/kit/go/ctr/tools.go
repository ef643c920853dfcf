//go:build tools

// Package kit names the program of this component; its modules are those that containerd pins.
package kit

import _ "github.com/containerd/containerd/v2/cmd/ctr"
