// cAdvisor's own reading of this node, by the library that the kubelet and cAdvisor are made of: of its server there is
// no module. For each line of the input, the name of a cgroup, a line of JSON: what GET /api/v1.3/containers/<name>
// of cAdvisor gives, read at that moment.
//
//	manager -containerd SOCKET
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/google/cadvisor/lib/cache/memory"
	"github.com/google/cadvisor/lib/container"
	_ "github.com/google/cadvisor/lib/container/containerd/install"
	"github.com/google/cadvisor/lib/manager"
	"github.com/google/cadvisor/lib/model"
	"github.com/google/cadvisor/lib/utils/sysfs"
)

func main() {
	// The flags are the library's.
	flag.Parse()
	interval, adapting := time.Second, false
	metrics := container.MetricSet{}
	for _, kind := range []container.MetricKind{
		container.CpuUsageMetrics,
		container.PerCpuUsageMetrics,
		container.MemoryUsageMetrics,
		container.DiskIOMetrics,
		container.NetworkUsageMetrics,
		container.ProcessMetrics,
		container.PressureMetrics,
	} {
		metrics[kind] = struct{}{}
	}
	told, err := manager.New(
		memory.New(time.Minute, nil),
		sysfs.NewRealSysFs(),
		manager.HousekeepingConfig{Interval: &interval, AllowDynamic: &adapting},
		metrics, []string{"/"}, nil, "", 0,
	)
	if err == nil {
		err = told.Start()
	}
	if err != nil {
		fail(err)
	}
	names, answers := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for names.Scan() {
		var now time.Duration
		asked := model.RequestOptions{IdType: model.TypeName, Count: 1, MaxAge: &now}
		all, err := told.GetRequestedContainersInfo(names.Text(), asked)
		if err == nil {
			err = answers.Encode(all[names.Text()])
		}
		if err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "manager:", err)
	os.Exit(1)
}
