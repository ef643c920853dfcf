//go:build tools

// Package kit names the programs of this component, so that their modules stay pinned in go.mod.
package kit

import (
	_ "github.com/siderolabs/talos/cmd/talosctl"
)
