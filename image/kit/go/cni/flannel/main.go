// Command flannel is the CNI plugin that joins pods to the network which flanneld set up.
//
// It turns the lease that flanneld wrote (its environment file) into the configuration of a bridge
// with host-local addresses and hands that to the delegate plugin. The rendered configuration is
// kept per container, because deletion must use the one that the addition used.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

const (
	defaultSubnetFile = "/run/flannel/subnet.env"
	defaultDataDir    = "/var/lib/cni/flannel"
	about             = "flannel (corten)"
	// notAvailable is the code that the CNI specification gives to a plugin that cannot serve an addition.
	notAvailable = 50
)

// plainName keeps container ids from naming a file elsewhere.
var plainName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// configuration is what stands in the network configuration list.
type configuration struct {
	types.NetConf
	SubnetFile string         `json:"subnetFile"`
	DataDir    string         `json:"dataDir"`
	Delegate   map[string]any `json:"delegate"`
}

// lease is what flanneld wrote for this node.
type lease struct {
	networks []string
	subnets  []string
	mtu      int
	masked   bool
}

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Check: check, Del: del, Status: status}, version.All, about)
}

func add(args *skel.CmdArgs) error {
	config, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	current, err := readLease(config.SubnetFile)
	if err != nil {
		return err
	}
	rendered, err := render(config, current)
	if err != nil {
		return err
	}
	if err := keep(config.DataDir, args.ContainerID, rendered); err != nil {
		return err
	}
	result, err := invoke.DelegateAdd(context.Background(), delegate(rendered), rendered, nil)
	if err != nil {
		return err
	}
	return result.Print()
}

func check(args *skel.CmdArgs) error {
	config, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	rendered, err := kept(config.DataDir, args.ContainerID)
	if err != nil {
		return err
	}
	return invoke.DelegateCheck(context.Background(), delegate(rendered), rendered, nil)
}

// del succeeds when nothing is kept: the addition never happened or was undone before.
func del(args *skel.CmdArgs) error {
	config, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	rendered, err := kept(config.DataDir, args.ContainerID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := invoke.DelegateDel(context.Background(), delegate(rendered), rendered, nil); err != nil {
		return err
	}
	return os.Remove(filepath.Join(config.DataDir, args.ContainerID))
}

// status says whether an addition could succeed: flanneld has a lease.
func status(args *skel.CmdArgs) error {
	config, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	if _, err := readLease(config.SubnetFile); err != nil {
		return types.NewError(notAvailable, "no lease", err.Error())
	}
	return nil
}

func parse(data []byte) (*configuration, error) {
	config := &configuration{SubnetFile: defaultSubnetFile, DataDir: defaultDataDir}
	if err := json.Unmarshal(data, config); err != nil {
		return nil, fmt.Errorf("parsing the network configuration: %w", err)
	}
	if config.Delegate == nil {
		config.Delegate = map[string]any{}
	}
	return config, nil
}

func readLease(path string) (*lease, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("flanneld has no lease yet: %w", err)
	}
	defer file.Close()
	found := &lease{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		key, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		switch key {
		case "FLANNEL_NETWORK", "FLANNEL_IPV6_NETWORK":
			found.networks = append(found.networks, strings.Split(value, ",")...)
		case "FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET":
			// flanneld writes the gateway's address with the length of the subnet.
			_, subnet, err := net.ParseCIDR(value)
			if err != nil {
				return nil, fmt.Errorf("reading %s: %w", key, err)
			}
			found.subnets = append(found.subnets, subnet.String())
		case "FLANNEL_MTU":
			if found.mtu, err = strconv.Atoi(value); err != nil {
				return nil, fmt.Errorf("reading %s: %w", key, err)
			}
		case "FLANNEL_IPMASQ":
			found.masked = value == "true"
		}
	}
	if len(found.subnets) == 0 || found.mtu == 0 {
		return nil, fmt.Errorf("%s has no subnet or no mtu", path)
	}
	return found, lines.Err()
}

// render makes the delegate's configuration; what the list says wins over what the lease implies.
func render(config *configuration, current *lease) ([]byte, error) {
	delegate := config.Delegate
	setDefault(delegate, "type", "bridge")
	setDefault(delegate, "mtu", current.mtu)
	if delegate["type"] == "bridge" {
		setDefault(delegate, "isGateway", true)
		setDefault(delegate, "ipMasq", !current.masked)
	}
	delegate["name"] = config.Name
	delegate["cniVersion"] = config.CNIVersion
	ranges, routes := []any{}, []any{}
	for _, subnet := range current.subnets {
		ranges = append(ranges, []any{map[string]any{"subnet": subnet}})
	}
	for _, network := range current.networks {
		routes = append(routes, map[string]any{"dst": network})
	}
	setDefault(delegate, "ipam", map[string]any{"type": "host-local", "ranges": ranges, "routes": routes})
	return json.Marshal(delegate)
}

func setDefault(values map[string]any, key string, value any) {
	if _, set := values[key]; !set {
		values[key] = value
	}
}

func delegate(rendered []byte) string {
	var kind struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(rendered, &kind); err != nil {
		return ""
	}
	return kind.Type
}

func keep(folder, container string, rendered []byte) error {
	if !plainName.MatchString(container) {
		return fmt.Errorf("container id %q is not plain", container)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, container), rendered, 0o600)
}

func kept(folder, container string) ([]byte, error) {
	if !plainName.MatchString(container) {
		return nil, fmt.Errorf("container id %q is not plain", container)
	}
	return os.ReadFile(filepath.Join(folder, container))
}
