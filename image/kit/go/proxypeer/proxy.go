package main

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/siderolabs/grpc-proxy/proxy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// Metadata of calls between machines.
const (
	rolesKey = "talos-role"
	nodesKey = "nodes"
	fromKey  = "proxyfrom"
)

// router finds where calls go. Connections are made once, as the clients of a machine do.
type router struct {
	socket string
	port   string
	secure credentials.TransportCredentials
	lock   sync.Mutex
	conns  map[string]*grpc.ClientConn
}

// passOn passes calls on until it is told to stop.
func passOn(ctx context.Context, folder, socket, address, port string) error {
	asked, err := serverSide(folder)
	if err != nil {
		return err
	}
	shown, err := clientSide(folder)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	r := &router{socket: socket, port: port, secure: shown, conns: map[string]*grpc.ClientConn{}}
	streamed := proxy.WithStreamedDetector(func(method string) bool { return method == methodCopy })
	server := grpc.NewServer(
		grpc.Creds(asked),
		grpc.ForceServerCodecV2(proxy.Codec()),
		grpc.UnknownServiceHandler(proxy.TransparentHandler(r.direct, streamed)),
		grpc.MaxRecvMsgSize(messageMax),
	)
	go func() {
		<-ctx.Done()
		server.Stop()
	}()
	fmt.Println("ready")
	return server.Serve(listener)
}

// direct sends a call to the machines that it names, or to the one that is here.
func (r *router) direct(ctx context.Context, _ string) (proxy.Mode, []proxy.Backend, error) {
	asked, _ := metadata.FromIncomingContext(ctx)
	names := asked.Get(nodesKey)
	if len(names) == 0 {
		return proxy.One2One, []proxy.Backend{&machine{router: r}}, nil
	}
	machines := make([]proxy.Backend, 0, len(names))
	for _, name := range names {
		machines = append(machines, &machine{router: r, name: name})
	}
	return proxy.One2Many, machines, nil
}

// connection to a machine; without a name to the one that is here.
func (r *router) connection(name string) (*grpc.ClientConn, error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if conn, ok := r.conns[name]; ok {
		return conn, nil
	}
	target, secure := net.JoinHostPort(name, r.port), r.secure
	if name == "" {
		target, secure = "unix:"+r.socket, insecure.NewCredentials()
	}
	conn, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(secure),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(proxy.Codec()), grpc.MaxCallRecvMsgSize(messageMax)))
	if err != nil {
		return nil, err
	}
	r.conns[name] = conn
	return conn, nil
}

// machine is where a call goes.
type machine struct {
	router *router
	name   string
}

func (m *machine) String() string {
	return m.name
}

// GetConnection adds who calls, as their certificate says.
func (m *machine) GetConnection(ctx context.Context, _ string) (context.Context, *grpc.ClientConn, error) {
	asked, _ := metadata.FromIncomingContext(ctx)
	passed := asked.Copy()
	passed.Set(rolesKey, roles(ctx)...)
	if m.name != "" {
		delete(passed, nodesKey)
		passed.Set(fromKey, asked.Get(":authority")...)
	}
	delete(passed, ":authority")
	conn, err := m.router.connection(m.name)
	return metadata.NewOutgoingContext(ctx, passed), conn, err
}

// AppendInfo names the machine in its answers to calls to several.
func (m *machine) AppendInfo(streaming bool, answer []byte) ([]byte, error) {
	switch {
	case m.name == "":
		return answer, nil
	case streaming:
		return append(answer, origin(m.name)...), nil
	default:
		return named(answer, m.name)
	}
}

// BuildError makes an answer of a failure.
func (m *machine) BuildError(streaming bool, err error) ([]byte, error) {
	if m.name == "" {
		return nil, nil
	}
	if streaming {
		return failure(m.name, err), nil
	}
	return nested(nil, 1, failure(m.name, err)), nil
}

// roles are the organizations of the caller's certificate.
func roles(ctx context.Context) []string {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	secure, ok := from.AuthInfo.(credentials.TLSInfo)
	if !ok || len(secure.State.PeerCertificates) == 0 {
		return nil
	}
	return secure.State.PeerCertificates[0].Subject.Organization
}
