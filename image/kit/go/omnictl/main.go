// Command omnictl is the client of Omni as it is: its own root command. Only its version is set here, to what the
// released programs of that version say: without it the client does not compare versions with the manager.
package main

import (
	"os"

	"github.com/siderolabs/omni/client/pkg/omnictl"
	"github.com/siderolabs/omni/client/pkg/version"
)

func main() {
	version.Name = "omnictl"
	version.Tag = "v1.8.0"
	version.API = 2
	if err := omnictl.RootCmd.Execute(); err != nil {
		os.Exit(1)
	}
}
