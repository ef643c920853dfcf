package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/netstack"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/siderolabs/siderolink/api/events"
	pb "github.com/siderolabs/siderolink/api/siderolink"
	"github.com/siderolabs/siderolink/pkg/wgtunnel/wgbind"
	"github.com/siderolabs/siderolink/pkg/wgtunnel/wggrpc"
)

const (
	// linkMTU is the largest packet in the tunnel.
	linkMTU = 1280
	// queueMax is how many datagrams wait for a stream.
	queueMax = 100
	// relayRetry is the pause before a broken stream is opened again.
	relayRetry = 5 * time.Second
	// keepaliveBytes is the length of a message of WireGuard without content.
	keepaliveBytes = 32
	// keepalivesWanted shows that they come again and again.
	keepalivesWanted = 2
	// attemptMax is the time for one attempt to hand over an event.
	attemptMax = 5 * time.Second
	// look is the pause between two looks.
	look = 50 * time.Millisecond
)

// machine is an end of the tunnel.
type machine struct {
	device *device.Device
	stack  *netstack.Net
	sink   netip.AddrPort
	failed chan error
}

// connect makes the end of the tunnel that belongs to a place.
func connect(
	ctx context.Context, api *grpc.ClientConn, o options, key wgtypes.Key, place *pb.ProvisionResponse,
) (*machine, error) {
	address, err := netip.ParsePrefix(place.GetNodeAddressPrefix())
	if err != nil {
		return nil, err
	}
	server, err := netip.ParseAddr(place.GetServerAddress())
	if err != nil {
		return nil, err
	}
	peer, err := wgtypes.ParseKey(place.GetServerPublicKey())
	if err != nil {
		return nil, err
	}
	endpoints := place.GetEndpoints()
	if len(endpoints) == 0 {
		return nil, errors.New("the place has no endpoint")
	}
	link, stack, err := netstack.CreateNetTUN([]netip.Addr{address.Addr()}, nil, linkMTU)
	if err != nil {
		return nil, err
	}
	m := &machine{
		stack:  stack,
		sink:   netip.AddrPortFrom(server, uint16(o.sinkPort)),
		failed: make(chan error, 1),
	}
	bind, err := m.bind(ctx, api, place.GetGrpcPeerAddrPort())
	if err != nil {
		return nil, err
	}
	m.device = device.NewDevice(link, bind, &device.Logger{Verbosef: device.DiscardLogf, Errorf: log.Printf})
	settings := fmt.Sprintf(
		"private_key=%s\npublic_key=%s\nendpoint=%s\nallowed_ip=%s/128\npersistent_keepalive_interval=%d\n",
		hex.EncodeToString(key[:]), hex.EncodeToString(peer[:]), endpoints[0], server, o.keepalive,
	)
	if err := m.device.IpcSet(settings); err != nil {
		return nil, err
	}
	return m, m.device.Up()
}

// bind is what carries datagrams: UDP, or a stream if the place has an address that stands for the machine.
func (m *machine) bind(ctx context.Context, api *grpc.ClientConn, virtual string) (conn.Bind, error) {
	if virtual == "" {
		return conn.NewDefaultBind(), nil
	}
	own, err := netip.ParseAddrPort(virtual)
	if err != nil {
		return nil, err
	}
	queues, silent := wgbind.NewQueuePair(queueMax, queueMax), zap.NewNop()
	relay := wggrpc.NewRelay(api, relayRetry, queues, own)
	go func() { m.failed <- relay.Run(ctx, silent) }()
	return wgbind.NewClientBind(queues, silent), nil
}

// until looks again and again until what is looked for is there.
func (m *machine) until(ctx context.Context, patience time.Duration, what string, is func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	for {
		found, err := is()
		if found {
			return nil
		}
		if err != nil {
			last = err
		}
		select {
		case err := <-m.failed:
			return fmt.Errorf("the tunnel ended before %s: %w", what, err)
		case <-ctx.Done():
			return fmt.Errorf("waited %s in vain for %s: %w", patience, what, errors.Join(last, ctx.Err()))
		case <-time.After(look):
		}
	}
}

// number is a number of what WireGuard tells about its only peer.
func (m *machine) number(name string) (int64, error) {
	text, err := m.device.IpcGet()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			return strconv.ParseInt(value, 10, 64)
		}
	}
	return 0, fmt.Errorf("WireGuard does not tell %s", name)
}

// waitHandshake waits for the first handshake.
func (m *machine) waitHandshake(ctx context.Context, patience time.Duration) error {
	return m.until(ctx, patience, "a handshake", func() (bool, error) {
		at, err := m.number("last_handshake_time_sec")
		return at > 0, err
	})
}

// waitEvent hands over an event of a type that nobody knows. The manager takes it if it knows the machine by the
// address that the connection comes from.
func (m *machine) waitEvent(ctx context.Context, patience time.Duration) error {
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return m.stack.DialContextTCPAddrPort(ctx, m.sink)
	}
	sink, err := grpc.NewClient(
		"passthrough:///"+m.sink.String(),
		grpc.WithContextDialer(dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
	)
	if err != nil {
		return err
	}
	defer sink.Close()
	event := &events.EventRequest{
		Id:   "1",
		Data: &anypb.Any{TypeUrl: "type.googleapis.com/corten.test.Nothing"},
	}
	return m.until(ctx, patience, "the event to be taken", func() (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, attemptMax)
		defer cancel()
		_, err := events.NewEventSinkServiceClient(sink).Publish(ctx, event)
		return err == nil, err
	})
}

// countKeepalives waits for messages without content that are sent while nobody has anything to say.
func (m *machine) countKeepalives(ctx context.Context, patience time.Duration) (int, error) {
	before, err := m.number("tx_bytes")
	if err != nil {
		return 0, err
	}
	count := 0
	err = m.until(ctx, patience, "messages that keep the way open", func() (bool, error) {
		now, err := m.number("tx_bytes")
		if now-before == keepaliveBytes {
			count++
		}
		before = now
		return count >= keepalivesWanted, err
	})
	return count, err
}
