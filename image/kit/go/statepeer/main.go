// Command statepeer is the other side of a benchmark of resources over gRPC, and the client that drives both sides.
//
//	statepeer serve SOCKET HISTORY   the Go state: in memory, by namespaces, over protobuf
//	statepeer drive SOCKET           reads commands from standard input and answers each with a line of JSON
//
// The client knows bytes only (wire.go), so that it costs the same whoever serves, and decodes nothing.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
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

func run(ctx context.Context, arguments []string) error {
	switch {
	case len(arguments) == 3 && arguments[0] == "serve":
		history, err := strconv.Atoi(arguments[2])
		if err != nil {
			return err
		}
		return serve(ctx, arguments[1], history)
	case len(arguments) == 2 && arguments[0] == "drive":
		return drive(ctx, arguments[1], os.Stdin, os.Stdout)
	default:
		return fmt.Errorf("usage: statepeer serve SOCKET HISTORY | statepeer drive SOCKET")
	}
}
