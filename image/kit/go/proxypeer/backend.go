package main

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// backend answers calls until it is told to stop.
func backend(ctx context.Context, folder, socket, address string) error {
	secure, err := serverSide(folder)
	if err != nil {
		return err
	}
	local, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	remote, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	options := []grpc.ServerOption{
		grpc.ForceServerCodec(raw{}),
		grpc.UnknownServiceHandler(answer),
		grpc.MaxRecvMsgSize(messageMax),
	}
	near, far := grpc.NewServer(options...), grpc.NewServer(append(options, grpc.Creds(secure))...)
	failed := make(chan error, 2)
	go func() { failed <- near.Serve(local) }()
	go func() { failed <- far.Serve(remote) }()
	fmt.Println("ready")
	select {
	case <-ctx.Done():
		near.Stop()
		far.Stop()
		return nil
	case err := <-failed:
		return err
	}
}

// answer knows two methods.
func answer(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	var request message
	if err := stream.RecvMsg(&request); err != nil {
		return err
	}
	switch method {
	case methodHostname:
		return stream.SendMsg(hostname("bench"))
	case methodCopy:
		return send(stream)
	default:
		return status.Errorf(codes.Unimplemented, "unknown method %s", method)
	}
}

// send writes as much as the metadata asks for.
func send(stream grpc.ServerStream) error {
	asked, _ := metadata.FromIncomingContext(stream.Context())
	wanted := asked.Get(bytesKey)
	if len(wanted) != 1 {
		return status.Errorf(codes.InvalidArgument, "%s is missing", bytesKey)
	}
	left, err := strconv.ParseInt(wanted[0], 10, 64)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	full := piece(pieceBytes)
	for ; left >= pieceBytes; left -= pieceBytes {
		if err := stream.SendMsg(full); err != nil {
			return err
		}
	}
	if left > 0 {
		return stream.SendMsg(piece(int(left)))
	}
	return nil
}
