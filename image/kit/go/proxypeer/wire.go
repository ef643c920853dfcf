package main

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Methods that are called. Each has the shape that a machine's method of that name has.
const (
	methodHostname = "/machine.MachineService/Hostname"
	methodCopy     = "/machine.MachineService/Copy"
)

const (
	// pieceBytes is how much one message of a copy carries.
	pieceBytes = 32 << 10
	// bytesKey is the metadata that says how much is to be copied.
	bytesKey = "bench-bytes"
	// messageMax is the largest message of the API.
	messageMax = 32 << 20
)

// message is bytes that are written as they are, and read as they come.
type message []byte

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

// nested appends a field with bytes.
func nested(to []byte, number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, number, protowire.BytesType), value)
}

// hostname is the answer of one machine: a list of one message, whose second field is a name.
func hostname(name string) message {
	return nested(nil, 1, nested(nil, 2, []byte(name)))
}

// piece is a message of a copy: its second field has the bytes.
func piece(bytes int) message {
	return nested(nil, 2, make([]byte, bytes))
}

// origin names a machine when it is appended to a message of it.
func origin(name string) []byte {
	return nested(nil, 1, nested(nil, 1, []byte(name)))
}

// failure stands for the answer of a machine that failed.
func failure(name string, err error) []byte {
	return nested(nil, 1, nested(nested(nil, 1, []byte(name)), 2, []byte(err.Error())))
}

// named is the answer of one machine with its name in each message of the list.
func named(answer []byte, name string) ([]byte, error) {
	extra := origin(name)
	var out []byte
	for len(answer) > 0 {
		number, kind, tag := protowire.ConsumeTag(answer)
		if tag < 0 {
			return nil, protowire.ParseError(tag)
		}
		length := protowire.ConsumeFieldValue(number, kind, answer[tag:])
		if length < 0 {
			return nil, protowire.ParseError(length)
		}
		if number == 1 && kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(answer[tag:])
			out = protowire.AppendTag(out, number, kind)
			out = protowire.AppendVarint(out, uint64(len(value)+len(extra)))
			out = append(append(out, value...), extra...)
		} else {
			out = append(out, answer[:tag+length]...)
		}
		answer = answer[tag+length:]
	}
	return out, nil
}
