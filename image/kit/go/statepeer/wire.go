package main

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/encoding/protowire"
)

// Where the resources are.
const (
	itemType      = "BenchItems.bench.corten.dev"
	itemNamespace = "bench"
)

// Methods of the state.
const (
	methodCreate = "/cosi.resource.State/Create"
	methodGet    = "/cosi.resource.State/Get"
	methodList   = "/cosi.resource.State/List"
	methodUpdate = "/cosi.resource.State/Update"
	methodWatch  = "/cosi.resource.State/Watch"
)

// message is bytes that are written as they are, and read as they come.
type message []byte

// text appends a field of text.
func text(to []byte, number protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(to, number, protowire.BytesType), value)
}

// nested appends a message in a message.
func nested(to []byte, number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, number, protowire.BytesType), value)
}

// count appends a number.
func count(to []byte, number protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(to, number, protowire.VarintType), value)
}

// id names an item.
func id(number int) string {
	return fmt.Sprintf("item-%06d", number)
}

// spec is the content of an item, in both encodings; note makes a change of it.
func spec(number int, note string) []byte {
	addresses := []string{
		fmt.Sprintf("10.5.%d.%d/24", number/256%256, number%256),
		fmt.Sprintf("fd00:5::%x/64", number),
	}
	proto := text(nil, 1, id(number))
	proto = count(proto, 2, uint64(number))
	proto = count(proto, 3, 1)
	for _, address := range addresses {
		proto = text(proto, 4, address)
	}
	proto = text(proto, 5, note)
	var yaml strings.Builder
	fmt.Fprintf(&yaml, "name: %s\nnumber: %d\nready: true\naddresses:\n", id(number), number)
	for _, address := range addresses {
		fmt.Fprintf(&yaml, "    - %s\n", address)
	}
	fmt.Fprintf(&yaml, "note: %s\n", note)
	return text(nested(nil, 1, proto), 2, yaml.String())
}

// resource is an item with its metadata; version 0 is one that is to be created.
func resource(number, version int, note string) []byte {
	metadata := text(nil, 1, itemNamespace)
	metadata = text(metadata, 2, itemType)
	metadata = text(metadata, 3, id(number))
	if version == 0 {
		metadata = text(metadata, 4, "undefined")
	} else {
		metadata = text(metadata, 4, strconv.Itoa(version))
	}
	metadata = text(metadata, 6, "running")
	metadata = nested(metadata, 7, nil)
	metadata = nested(metadata, 8, nil)
	for label, value := range map[string]string{"bench": "yes", "shard": strconv.Itoa(number % 16)} {
		metadata = nested(metadata, 10, text(text(nil, 1, label), 2, value))
	}
	return nested(nested(nil, 1, metadata), 2, spec(number, note))
}

// createRequest asks for a new item.
func createRequest(number int) message {
	return nested(nil, 1, resource(number, 0, "first"))
}

// updateRequest changes an item that has this version.
func updateRequest(number, version int) message {
	options := text(nil, 2, "running")
	request := nested(nil, 2, resource(number, version, fmt.Sprintf("change %d", version)))
	return nested(request, 3, options)
}

// getRequest asks for an item.
func getRequest(number int) message {
	return text(kindRequest(), 3, id(number))
}

// kindRequest asks for all items: a list, or as the beginning of a watch.
func kindRequest() message {
	return text(text(nil, 1, itemNamespace), 2, itemType)
}

// watchRequest asks for all changes from now on, one by one.
func watchRequest() message {
	return count(kindRequest(), 5, 1)
}

// raw hands bytes through; it is named as protobuf is, because that is what it is on the wire.
type raw struct{}

func (raw) Marshal(value any) ([]byte, error) {
	bytes, ok := value.(message)
	if !ok {
		return nil, fmt.Errorf("%T is no message", value)
	}
	return bytes, nil
}

func (raw) Unmarshal(data []byte, value any) error {
	into, ok := value.(*message)
	if !ok {
		return fmt.Errorf("%T takes no message", value)
	}
	*into = data
	return nil
}

func (raw) Name() string {
	return "proto"
}

var _ encoding.Codec = raw{}
