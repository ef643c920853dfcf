// Command machinery reads every resource of a machine with the types of Talos's own module, and says what came of it.
//
// For each type that the machine lists it asks twice: once decoded into the module's type, once as the machine wrote it.
// A type that the module knows has to decode, and both have to be the same YAML. It prints one object of JSON.
//
// With -methods it calls the methods instead that talosctl has no command for, and prints what they answered.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"sort"
	"time"

	"github.com/cosi-project/runtime/api/v1alpha1"
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/protobuf"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/talos/pkg/machinery/client"
	clientconfig "github.com/siderolabs/talos/pkg/machinery/client/config"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/block"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/cluster"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/config"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/cri"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/etcd"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/files"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/hardware"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/k8s"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/kubeaccess"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/kubespan"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/network"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/perf"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/runtime"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/secrets"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/security"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/siderolink"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/time"
	_ "github.com/siderolabs/talos/pkg/machinery/resources/v1alpha1"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// patience ends a run that nobody answers.
const patience = 10 * time.Minute

// kind is what came of a type.
type kind struct {
	Type      string   `json:"type"`
	Namespace string   `json:"namespace"`
	Count     int      `json:"count"`
	Known     bool     `json:"known"`
	Problems  []string `json:"problems"`
}

func main() {
	file := flag.String("talosconfig", "", "client configuration")
	node := flag.String("node", "", "machine to ask")
	server := flag.String("methods", "", "call methods instead, with this time server")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	found, err := run(ctx, *file, *node, *server)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(found)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run asks a machine and says what it found.
func run(ctx context.Context, file, node, server string) (map[string]any, error) {
	config, err := clientconfig.Open(file)
	if err != nil {
		return nil, err
	}
	api, err := client.New(ctx, client.WithConfig(config))
	if err != nil {
		return nil, err
	}
	defer api.Close() //nolint:errcheck
	ctx = client.WithNode(ctx, node)
	if server != "" {
		return map[string]any{"methods": methods(ctx, api, server)}, nil
	}
	kinds, err := types(ctx, api)
	return map[string]any{"types": kinds}, err
}

// types looks at every type that the machine lists.
func types(ctx context.Context, api *client.Client) ([]kind, error) {
	definitions, err := safe.StateListAll[*meta.ResourceDefinition](ctx, api.COSI)
	if err != nil {
		return nil, fmt.Errorf("types: %w", err)
	}
	kinds := make([]kind, 0, definitions.Len())
	for definition := range definitions.All() {
		kinds = append(kinds, look(ctx, api.COSI, definition.TypedSpec()))
	}
	sort.Slice(kinds, func(i, j int) bool { return kinds[i].Type < kinds[j].Type })
	return kinds, nil
}

// look reads all resources of a type in both ways.
func look(ctx context.Context, from state.State, definition *meta.ResourceDefinitionSpec) kind {
	found := kind{Type: string(definition.Type), Namespace: string(definition.DefaultNamespace), Problems: []string{}}
	found.Known = knows(definition)
	all := resource.NewMetadata(definition.DefaultNamespace, definition.Type, "", resource.VersionUndefined)
	skip := state.WithListUnmarshalOptions(state.WithSkipProtobufUnmarshal())
	written, err := from.List(ctx, all, skip)
	if err != nil {
		found.Problems = append(found.Problems, err.Error())
		return found
	}
	found.Count = len(written.Items)
	if !found.Known {
		return found
	}
	decoded, err := from.List(ctx, all)
	if err != nil {
		found.Problems = append(found.Problems, err.Error())
		return found
	}
	// A resource that is between two versions now is compared by the next run.
	typed := map[string]resource.Resource{}
	for _, item := range decoded.Items {
		typed[item.Metadata().ID()+"@"+item.Metadata().Version().String()] = item
	}
	for _, item := range written.Items {
		same, ok := typed[item.Metadata().ID()+"@"+item.Metadata().Version().String()]
		if !ok {
			continue
		}
		if err := compare(item, same); err != nil {
			found.Problems = append(found.Problems, item.Metadata().ID()+": "+err.Error())
		}
	}
	return found
}

// knows says whether the module has a type of its own for resources of this one. For a type that it does not know the
// runtime hands back the message itself.
func knows(definition *meta.ResourceDefinitionSpec) bool {
	now := timestamppb.Now()
	metadata := &v1alpha1.Metadata{
		Namespace: string(definition.DefaultNamespace),
		Type:      string(definition.Type),
		Id:        "none",
		Version:   "1",
		Phase:     resource.PhaseRunning.String(),
		Created:   now,
		Updated:   now,
	}
	message, err := protobuf.Unmarshal(&v1alpha1.Resource{Metadata: metadata, Spec: &v1alpha1.Spec{}})
	if err != nil {
		return false
	}
	made, err := protobuf.UnmarshalResource(message)
	_, isMessage := made.(*protobuf.Resource)
	// A type that cannot be empty is known, too.
	return err != nil || !isMessage
}

// compare says how what the machine wrote as YAML differs from what it wrote as protobuf, to a reader who has the module's
// type: either is read into that type, and both have to say the same. Fields that are younger than the module are in neither.
func compare(written, typed resource.Resource) error {
	raw, err := spec(written.Spec())
	if err != nil {
		return err
	}
	theirs, err := spec(typed.Spec())
	if err != nil {
		return err
	}
	// Some types write themselves in a way that they do not read.
	if reflect.DeepEqual(raw, theirs) {
		return nil
	}
	text, err := yaml.Marshal(written.Spec())
	if err != nil {
		return err
	}
	from := reflect.New(reflect.Indirect(reflect.ValueOf(typed.Spec())).Type())
	if err := yaml.Unmarshal(text, from.Interface()); err != nil {
		return fmt.Errorf("its YAML is not that of the type: %w", err)
	}
	ours, err := spec(from.Interface())
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(ours, theirs) {
		left, _ := json.Marshal(ours)    //nolint:errcheck
		right, _ := json.Marshal(theirs) //nolint:errcheck
		return errors.New("as YAML " + string(left) + ", as protobuf " + string(right))
	}
	return shaped("", raw, theirs)
}

// shaped says where YAML has another shape than the module gives it. What is there on one side only is no matter.
func shaped(path string, ours, theirs any) error {
	if ours == nil || theirs == nil {
		return nil
	}
	switch theirs := theirs.(type) {
	case map[string]any:
		ours, ok := ours.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is no mapping", path)
		}
		for key, value := range theirs {
			if err := shaped(path+"."+key, ours[key], value); err != nil {
				return err
			}
		}
	case []any:
		ours, ok := ours.([]any)
		if !ok {
			return fmt.Errorf("%s is no list", path)
		}
		for index := range min(len(ours), len(theirs)) {
			if err := shaped(path+"[]", ours[index], theirs[index]); err != nil {
				return err
			}
		}
	default:
		if reflect.TypeOf(ours) != reflect.TypeOf(theirs) {
			return fmt.Errorf("%s is %T, and should be %T", path, ours, theirs)
		}
	}
	return nil
}

// spec is a specification as plain values. What is empty and what is absent are the same to a reader, and a number is one.
func spec(from any) (any, error) {
	text, err := yaml.Marshal(from)
	if err != nil {
		return nil, err
	}
	var value any
	if err := yaml.Unmarshal(text, &value); err != nil {
		return nil, err
	}
	return plain(value), nil
}

func plain(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			if inner = plain(inner); inner == nil {
				delete(value, key)
			} else {
				value[key] = inner
			}
		}
		if len(value) == 0 {
			return nil
		}
		return value
	case []any:
		if len(value) == 0 {
			return nil
		}
		for index, inner := range value {
			value[index] = plain(inner)
		}
		return value
	case int:
		return float64(value)
	case int64:
		return float64(value)
	case uint64:
		return float64(value)
	default:
		return value
	}
}
