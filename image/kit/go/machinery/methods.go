package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/api/time"
	"github.com/siderolabs/talos/pkg/machinery/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// call is what came of a method: its first message, or how it was refused.
type call struct {
	Method  string          `json:"method"`
	Answer  json.RawMessage `json:"answer,omitempty"`
	Code    string          `json:"code"`
	Message string          `json:"message"`
}

// methods calls what talosctl has no command for. Nothing is changed by it.
func methods(ctx context.Context, api *client.Client, server string) []call {
	nothing := &emptypb.Empty{}
	cri := &common.ContainerdInstance{
		Driver:    common.ContainerDriver_CRI,
		Namespace: common.ContainerdNamespace_NS_CRI,
	}
	image := &machine.InstallArtifactsSource{ImageName: "registry.invalid/installer:v1"}
	disk := &machine.InstallDestination{Disk: "/dev/vdz"}
	return []call{
		one(ctx, "MachineService/CPUFreqStats", nothing, api.MachineClient.CPUFreqStats),
		one(ctx, "MachineService/CPUInfo", nothing, api.MachineClient.CPUInfo),
		one(ctx, "MachineService/DiskStats", nothing, api.MachineClient.DiskStats),
		one(ctx, "MachineService/Hostname", nothing, api.MachineClient.Hostname),
		one(ctx, "MachineService/LoadAvg", nothing, api.MachineClient.LoadAvg),
		one(ctx, "MachineService/LogsContainers", nothing, api.MachineClient.LogsContainers),
		one(ctx, "MachineService/NetworkDeviceStats", nothing, api.MachineClient.NetworkDeviceStats),
		one(ctx, "MachineService/SystemStat", nothing, api.MachineClient.SystemStat),
		first(ctx, "MachineService/ImageList", &machine.ImageListRequest{
			Namespace: common.ContainerdNamespace_NS_CRI,
		}, api.MachineClient.ImageList),
		one(ctx, "MachineService/Upgrade", &machine.UpgradeRequest{Image: image.ImageName}, api.MachineClient.Upgrade),
		one(ctx, "StorageService/Disks", nothing, api.StorageClient.Disks),
		one(ctx, "TimeService/TimeCheck", &time.TimeRequest{Server: server}, api.TimeClient.TimeCheck),
		one(ctx, "ImageService/Verify", &machine.ImageServiceVerifyRequest{
			ImageRef: "registry.invalid/image:v1",
		}, api.ImageClient.Verify),
		first(ctx, "LifecycleService/Install", &machine.LifecycleServiceInstallRequest{
			Containerd: cri, Source: image, Destination: disk,
		}, api.LifecycleClient.Install),
	}
}

// one calls a method with one answer.
func one[Request any, Answer proto.Message](
	ctx context.Context,
	name string,
	request Request,
	method func(context.Context, Request, ...grpc.CallOption) (Answer, error),
) call {
	answer, err := method(ctx, request)
	return told(name, answer, err)
}

// first calls a method with a stream of answers and takes the first one.
func first[Request, Answer any](
	ctx context.Context,
	name string,
	request Request,
	method func(context.Context, Request, ...grpc.CallOption) (grpc.ServerStreamingClient[Answer], error),
) call {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := method(ctx, request)
	if err != nil {
		return told(name, nil, err)
	}
	answer, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return told(name, nil, nil)
	}
	message, ok := any(answer).(proto.Message)
	if err == nil && !ok {
		err = errors.New("the answer is no message")
	}
	return told(name, message, err)
}

func told(name string, answer proto.Message, err error) call {
	found := call{Method: name, Code: status.Code(err).String(), Message: status.Convert(err).Message()}
	if err != nil || answer == nil {
		return found
	}
	found.Answer, err = protojson.Marshal(answer)
	if err != nil {
		found.Code, found.Message = "Internal", err.Error()
	}
	return found
}
