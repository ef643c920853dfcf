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
	"google.golang.org/grpc/credentials/insecure"
)

const (
	// connections are shared by watchers; other calls use the first.
	connections = 10
	// inFlight is how many unary calls are under way.
	inFlight = 16
	// answerMax is how long one command may take.
	answerMax = 10 * time.Minute
	// messageMax is the largest message of the API.
	messageMax = 32 << 20
)

// driver makes calls to one state.
type driver struct {
	conns    []*grpc.ClientConn
	watchers []grpc.ClientStream
	cancel   context.CancelFunc
	versions map[int]int
}

// report says what a command has done.
type report struct {
	// Done counts calls, resources or events, as the command has it.
	Done    int     `json:"done"`
	Bytes   int     `json:"bytes"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

// drive carries out commands until the input ends.
func drive(ctx context.Context, socket string, in io.Reader, out io.Writer) error {
	d := &driver{versions: map[int]int{}}
	for range connections {
		conn, err := grpc.NewClient("unix:"+socket,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(messageMax)))
		if err != nil {
			return err
		}
		defer conn.Close()
		d.conns = append(d.conns, conn)
	}
	answers := json.NewEncoder(out)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		began := time.Now()
		bounded, cancel := context.WithTimeout(ctx, answerMax)
		done, err := d.command(bounded, strings.Fields(lines.Text()))
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
func (d *driver) command(ctx context.Context, words []string) (report, error) {
	if len(words) != 2 {
		return report{}, fmt.Errorf("a command is a verb and a number, not %q", words)
	}
	n, err := strconv.Atoi(words[1])
	if err != nil {
		return report{}, err
	}
	switch words[0] {
	case "create":
		return d.unary(ctx, n, methodCreate, createRequest)
	case "get":
		return d.unary(ctx, n, methodGet, func(number int) message { return getRequest(number % d.items()) })
	case "update":
		return d.unary(ctx, n, methodUpdate, func(number int) message {
			number %= d.items()
			return updateRequest(number, d.version(number))
		})
	case "list":
		return d.list(ctx, n)
	case "open":
		return d.open(ctx, n)
	case "change":
		return d.change(ctx, n)
	case "close":
		if d.cancel != nil {
			d.cancel()
		}
		d.watchers = nil
		return report{}, nil
	default:
		return report{}, fmt.Errorf("there is no command %q", words[0])
	}
}

// items is how many there are.
func (d *driver) items() int {
	return max(len(d.versions), 1)
}

// version of an item now; it is one more afterwards.
func (d *driver) version(number int) int {
	version := d.versions[number]
	d.versions[number] = version + 1
	return version
}

// unary makes n calls, some at a time. Requests are made before the calls begin.
func (d *driver) unary(ctx context.Context, n int, method string, request func(int) message) (report, error) {
	requests := make([]message, n)
	for number := range requests {
		requests[number] = request(number)
		if method == methodCreate {
			d.versions[number] = 1
		}
	}
	var (
		group sync.WaitGroup
		lock  sync.Mutex
		total report
		first error
	)
	for worker := range inFlight {
		group.Add(1)
		go func() {
			defer group.Done()
			var own report
			var failed error
			for number := worker; number < n && failed == nil; number += inFlight {
				var answer message
				if failed = d.conns[0].Invoke(ctx, method, requests[number], &answer); failed == nil {
					own.Done++
					own.Bytes += len(answer)
				}
			}
			lock.Lock()
			defer lock.Unlock()
			total.Done += own.Done
			total.Bytes += own.Bytes
			if first == nil {
				first = failed
			}
		}()
	}
	group.Wait()
	return total, first
}

// list asks n times for all items.
func (d *driver) list(ctx context.Context, n int) (report, error) {
	var total report
	for range n {
		stream, err := d.stream(ctx, d.conns[0], methodList, kindRequest())
		if err != nil {
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
			total.Done++
			total.Bytes += len(answer)
		}
	}
	return total, nil
}

func (d *driver) stream(ctx context.Context, conn *grpc.ClientConn, method string, request message) (grpc.ClientStream, error) {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(request); err != nil {
		return nil, err
	}
	return stream, stream.CloseSend()
}

// open starts n watchers and waits until each stands, which an empty message says.
func (d *driver) open(_ context.Context, n int) (report, error) {
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	for number := range n {
		stream, err := d.stream(ctx, d.conns[number%len(d.conns)], methodWatch, watchRequest())
		if err != nil {
			return report{}, err
		}
		var first message
		if err := stream.RecvMsg(&first); err != nil {
			return report{}, err
		}
		d.watchers = append(d.watchers, stream)
	}
	return report{Done: n}, nil
}

// change makes n changes, and waits until every watcher has been told of each.
func (d *driver) change(ctx context.Context, n int) (report, error) {
	var (
		group sync.WaitGroup
		lock  sync.Mutex
		total report
		first error
	)
	for _, stream := range d.watchers {
		group.Add(1)
		go func() {
			defer group.Done()
			var own report
			var failed error
			for own.Done < n && failed == nil {
				var answer message
				if failed = stream.RecvMsg(&answer); failed == nil {
					own.Done++
					own.Bytes += len(answer)
				}
			}
			lock.Lock()
			defer lock.Unlock()
			total.Done += own.Done
			total.Bytes += own.Bytes
			if first == nil {
				first = failed
			}
		}()
	}
	for number := range n {
		number %= d.items()
		var answer message
		if err := d.conns[0].Invoke(ctx, methodUpdate, updateRequest(number, d.version(number)), &answer); err != nil {
			d.cancel()
			group.Wait()
			return total, err
		}
	}
	group.Wait()
	return total, first
}
