package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

const (
	// inFlight is how many calls to one machine are under way, and fansInFlight how many to several.
	inFlight     = 16
	fansInFlight = 4
	// answerMax is how long one command may take.
	answerMax = 10 * time.Minute
)

// report says what a command has done.
type report struct {
	// Done counts calls, or bytes of a copy.
	Done    int64   `json:"done"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

// drive carries out commands until the input ends.
func drive(ctx context.Context, folder, address string, machines []string, in io.Reader, out io.Writer) error {
	secure, err := clientSide(folder)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(secure),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(messageMax)))
	if err != nil {
		return err
	}
	defer conn.Close()
	answers := json.NewEncoder(out)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		began := time.Now()
		bounded, cancel := context.WithTimeout(ctx, answerMax)
		done, err := command(bounded, conn, machines, strings.Fields(lines.Text()))
		cancel()
		done.Seconds = time.Since(began).Seconds()
		if err != nil {
			done.Error = err.Error()
		}
		if err := answers.Encode(done); err != nil {
			return err
		}
	}
	return lines.Err()
}

// command is a verb and a number.
func command(ctx context.Context, conn *grpc.ClientConn, machines, words []string) (report, error) {
	if len(words) != 2 {
		return report{}, fmt.Errorf("a command is a verb and a number, not %q", words)
	}
	n, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil {
		return report{}, err
	}
	switch words[0] {
	case "call":
		return calls(ctx, conn, n, inFlight, len(hostname("bench")))
	case "fan":
		for _, machine := range machines {
			ctx = metadata.AppendToOutgoingContext(ctx, nodesKey, machine)
		}
		least := len(machines) * (len(hostname("bench")) + len(origin(machines[0])))
		return calls(ctx, conn, n, fansInFlight, least)
	case "copy":
		return copied(metadata.AppendToOutgoingContext(ctx, bytesKey, words[1]), conn, n)
	default:
		return report{}, fmt.Errorf("there is no command %q", words[0])
	}
}

// calls makes n calls, some at a time. An answer has at least so many bytes: nobody is left out of it.
func calls(ctx context.Context, conn *grpc.ClientConn, n, together int64, least int) (report, error) {
	var (
		group sync.WaitGroup
		lock  sync.Mutex
		total report
		first error
	)
	for worker := range together {
		group.Add(1)
		go func() {
			defer group.Done()
			done, failed := int64(0), error(nil)
			for number := worker; number < n && failed == nil; number += together {
				var answer message
				failed = conn.Invoke(ctx, methodHostname, message{}, &answer)
				if failed == nil && len(answer) < least {
					failed = fmt.Errorf("an answer has %d bytes of %d", len(answer), least)
				}
				if failed == nil {
					done++
				}
			}
			lock.Lock()
			defer lock.Unlock()
			total.Done += done
			if first == nil {
				first = failed
			}
		}()
	}
	group.Wait()
	return total, first
}

// copied reads a copy to its end.
func copied(ctx context.Context, conn *grpc.ClientConn, n int64) (report, error) {
	var total report
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, methodCopy)
	if err != nil {
		return total, err
	}
	if err := stream.SendMsg(message{}); err != nil {
		return total, err
	}
	if err := stream.CloseSend(); err != nil {
		return total, err
	}
	for {
		var answer message
		err := stream.RecvMsg(&answer)
		if err == io.EOF {
			break
		}
		if err != nil {
			return total, err
		}
		total.Done += int64(len(answer))
	}
	if total.Done < n {
		return total, fmt.Errorf("%d of %d bytes came", total.Done, n)
	}
	return total, nil
}
