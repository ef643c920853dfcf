// Command proxypeer is the other side of a benchmark of a proxy of gRPC calls, what is behind both sides, and the client
// that drives them.
//
//	proxypeer backend FOLDER SOCKET ADDRESS            answers calls: on SOCKET, and with TLS on ADDRESS
//	proxypeer proxy   FOLDER SOCKET ADDRESS PORT       passes calls on: to SOCKET, or to PORT of the machines they name
//	proxypeer drive   FOLDER ADDRESS MACHINES          reads commands from standard input, answers each with a line of JSON
//
// FOLDER has ca.pem, and certificates with keys: server.pem, server-key.pem, client.pem, client-key.pem.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, words []string) error {
	switch {
	case len(words) == 4 && words[0] == "backend":
		return backend(ctx, words[1], words[2], words[3])
	case len(words) == 5 && words[0] == "proxy":
		return passOn(ctx, words[1], words[2], words[3], words[4])
	case len(words) == 4 && words[0] == "drive":
		return drive(ctx, words[1], words[2], strings.Split(words[3], ","), os.Stdin, os.Stdout)
	default:
		return fmt.Errorf("usage: proxypeer backend FOLDER SOCKET ADDRESS | proxy FOLDER SOCKET ADDRESS PORT | drive FOLDER ADDRESS MACHINES")
	}
}
