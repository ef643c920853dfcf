package main

import (
	"context"
	"fmt"
	"net"

	"github.com/cosi-project/runtime/api/v1alpha1"
	cosi "github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/protobuf"
	"github.com/cosi-project/runtime/pkg/resource/typed"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/cosi-project/runtime/pkg/state/protobuf/server"
	"google.golang.org/grpc"
)

// itemSpec is what each resource holds. Its numbers and keys are those of the type on the other side, and of wire.go.
type itemSpec struct {
	Name      string   `yaml:"name" protobuf:"1"`
	Number    uint64   `yaml:"number" protobuf:"2"`
	Ready     bool     `yaml:"ready" protobuf:"3"`
	Addresses []string `yaml:"addresses" protobuf:"4"`
	Note      string   `yaml:"note" protobuf:"5"`
}

// DeepCopy shares nothing that changes.
func (s itemSpec) DeepCopy() itemSpec {
	s.Addresses = append([]string(nil), s.Addresses...)
	return s
}

type itemExtension struct{}

// ResourceDefinition describes the type.
func (itemExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return meta.ResourceDefinitionSpec{Type: itemType, DefaultNamespace: itemNamespace}
}

type item = typed.Resource[itemSpec, itemExtension]

// serve runs the state until it is told to stop.
func serve(ctx context.Context, socket string, history int) error {
	if err := protobuf.RegisterDynamic[itemSpec](itemType, &item{}); err != nil {
		return err
	}
	build := inmem.NewStateWithOptions(inmem.WithHistoryMaxCapacity(history))
	all := namespaced.NewState(func(namespace cosi.Namespace) state.CoreState { return build(namespace) })
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	serving := grpc.NewServer()
	v1alpha1.RegisterStateServer(serving, server.NewState(all))
	go func() {
		<-ctx.Done()
		serving.Stop()
	}()
	fmt.Println("ready")
	return serving.Serve(listener)
}
