// Command siderolink-machine is a machine for tests, made of other people's parts: the WireGuard of wireguard-go and,
// for datagrams inside gRPC, the tunnel of siderolink.
//
// It asks a manager for a place, shakes hands, hands over an event through the tunnel, and keeps the way open while it
// has nothing to say. When all that has happened it prints one line of JSON and stays until it is killed. Its TCP is in
// user space, so that it needs no privilege and leaves nothing on the host.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/siderolabs/siderolink/api/siderolink"
)

// lifetimeMax ends a machine that nobody ends.
const lifetimeMax = time.Hour

// options are what the machine is told.
type options struct {
	api         string
	joinToken   string
	uniqueToken string
	uuid        string
	version     string
	grpc        bool
	keepalive   uint
	sinkPort    uint
	patience    time.Duration
}

// report is what has happened.
type report struct {
	Address          string  `json:"address"`
	Virtual          string  `json:"virtual"`
	HandshakeSeconds float64 `json:"handshake_seconds"`
	Events           int     `json:"events"`
	Keepalives       int     `json:"keepalives"`
}

func main() {
	var o options
	flag.StringVar(&o.api, "api", "", "host and port of the machine API, without TLS")
	flag.StringVar(&o.joinToken, "join-token", "", "what lets a new machine in")
	flag.StringVar(&o.uniqueToken, "unique-token", "", "what the machine is known by, JSON")
	flag.StringVar(&o.uuid, "uuid", "", "UUID of the machine")
	flag.StringVar(&o.version, "talos-version", "v1.13.0", "what the machine says it runs")
	flag.BoolVar(&o.grpc, "grpc", false, "datagrams inside gRPC")
	flag.UintVar(&o.keepalive, "keepalive", 25, "seconds after which something is sent into a quiet tunnel")
	flag.UintVar(&o.sinkPort, "sink-port", 8090, "port of the event sink in the tunnel")
	flag.DurationVar(&o.patience, "patience", time.Minute, "time for each step")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, lifetimeMax)
	defer cancel()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run lives the life of the machine.
func run(ctx context.Context, o options) error {
	began := time.Now()
	key, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		return err
	}
	api, err := grpc.NewClient(o.api, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer api.Close()
	place, err := provision(ctx, api, o, key.PublicKey())
	if err != nil {
		return fmt.Errorf("the manager has no place: %w", err)
	}
	m, err := connect(ctx, api, o, key, place)
	if err != nil {
		return err
	}
	defer m.device.Close()
	if err := m.waitHandshake(ctx, o.patience); err != nil {
		return err
	}
	told := report{
		Address:          place.GetNodeAddressPrefix(),
		Virtual:          place.GetGrpcPeerAddrPort(),
		HandshakeSeconds: time.Since(began).Seconds(),
	}
	if err := m.waitEvent(ctx, o.patience); err != nil {
		return err
	}
	told.Events = 1
	if told.Keepalives, err = m.countKeepalives(ctx, o.patience); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
		return err
	}
	select {
	case err := <-m.failed:
		return fmt.Errorf("the tunnel ended: %w", err)
	case <-ctx.Done():
		return nil
	}
}

// provision asks for a place.
func provision(
	ctx context.Context, api grpc.ClientConnInterface, o options, key wgtypes.Key,
) (*pb.ProvisionResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, o.patience)
	defer cancel()
	request := &pb.ProvisionRequest{
		NodeUuid:        o.uuid,
		NodePublicKey:   key.String(),
		JoinToken:       &o.joinToken,
		NodeUniqueToken: &o.uniqueToken,
		TalosVersion:    &o.version,
	}
	if o.grpc {
		request.WireguardOverGrpc = &o.grpc
	}
	return pb.NewProvisionServiceClient(api).Provision(ctx, request)
}
