package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	client "github.com/google/cadvisor/client"
	clientv2 "github.com/google/cadvisor/client/v2"
	v1 "github.com/google/cadvisor/info/v1"
	v2 "github.com/google/cadvisor/info/v2"

	"podvitals.dev/tests/readers/keys"
)

// Asks for everything about one pod, and keeps what is wrong with it.
type reader struct {
	server, container, id, sandbox, pod string

	faults []string
	told   told
}

// What was taken from the documents.
type told struct {
	Version       string            `json:"version"`
	Kernel        string            `json:"kernelVersion"`
	Cores         int               `json:"cores"`
	MemoryBytes   uint64            `json:"memoryBytes"`
	Aliases       []string          `json:"aliases"`
	Image         string            `json:"image"`
	Labels        map[string]string `json:"labels"`
	Samples       []sample          `json:"samples"`
	SamplesV2     []sample          `json:"samplesV2"`
	Sandbox       v1.InterfaceStats `json:"sandbox"`
	SandboxV2     v1.InterfaceStats `json:"sandboxV2"`
	Subcontainers []string          `json:"subcontainers"`
	Docker        []string          `json:"docker"`
	Machine       []sample          `json:"machine"`
	Latest        v2.InstantUsage   `json:"latestUsage"`
	MinuteSamples uint64            `json:"minuteSamples"`
	Created       []string          `json:"created"`
}

// One moment of something.
type sample struct {
	Time       time.Time `json:"time"`
	CPU        uint64    `json:"usageNanoseconds"`
	Usage      uint64    `json:"usageBytes"`
	WorkingSet uint64    `json:"workingSetBytes"`
}

func (r *reader) fault(format string, arguments ...any) {
	r.faults = append(r.faults, fmt.Sprintf(format, arguments...))
}

// Whether it went well.
func (r *reader) well(what string, err error) bool {
	if err != nil {
		r.fault("%s: %v", what, err)
	}
	return err == nil
}

func (r *reader) must(holds bool, format string, arguments ...any) {
	if !holds {
		r.fault(format, arguments...)
	}
}

func (r *reader) all() {
	r.byVersion1()
	r.byVersion2()
	r.withoutClient()
}

// Oldest first, none twice, a CPU that works and never goes back, and memory.
func (r *reader) plausible(what string, samples []sample, least, most int) {
	if len(samples) < least || len(samples) > most {
		r.fault("%s: %d samples, not %d to %d", what, len(samples), least, most)
	}
	for at, sample := range samples {
		if sample.CPU == 0 || sample.Usage == 0 || sample.WorkingSet == 0 || sample.WorkingSet > sample.Usage {
			r.fault("%s: %+v", what, sample)
		}
		if at > 0 && (!sample.Time.After(samples[at-1].Time) || sample.CPU < samples[at-1].CPU) {
			r.fault("%s: %+v after %+v", what, sample, samples[at-1])
		}
	}
}

// What is there of a moment.
func taken(at time.Time, cpu *v1.CpuStats, memory *v1.MemoryStats) sample {
	taken := sample{Time: at}
	if cpu != nil {
		taken.CPU = cpu.Usage.Total
	}
	if memory != nil {
		taken.Usage, taken.WorkingSet = memory.Usage, memory.WorkingSet
	}
	return taken
}

func ofVersion1(stats []*v1.ContainerStats) []sample {
	var all []sample
	for _, one := range stats {
		all = append(all, taken(one.Timestamp, one.Cpu, one.Memory))
	}
	return all
}

func ofVersion2(stats []*v2.ContainerStats) []sample {
	var all []sample
	for _, one := range stats {
		all = append(all, taken(one.Timestamp, one.Cpu, one.Memory))
	}
	return all
}

// The functions of `github.com/google/cadvisor/client`, which asks v1.3.
func (r *reader) byVersion1() {
	asks, err := client.NewClient(r.server)
	if !r.well("client", err) {
		return
	}
	if machine, err := asks.MachineInfo(); r.well("v1.3 machine", err) {
		r.told.Cores, r.told.MemoryBytes = machine.NumCores, machine.MemoryCapacity
		r.must(machine.NumCores > 0 && machine.MemoryCapacity > 0, "v1.3 machine: %+v", machine)
	}
	// The least that anybody asks for is a zero time for start and end: the client always sends both.
	if info, err := asks.ContainerInfo(r.container, &v1.ContainerInfoRequest{}); r.well("v1.3 containers", err) {
		r.told.Samples = ofVersion1(info.Stats)
		r.told.Aliases, r.told.Image, r.told.Labels = info.Aliases, info.Spec.Image, info.Spec.Labels
		r.plausible("v1.3 containers", r.told.Samples, 2, 60)
		r.must(info.Name == r.container, "v1.3 containers: asked for %s, told of %s", r.container, info.Name)
		spec := info.Spec
		r.must(spec.HasCpu && spec.HasMemory && !spec.CreationTime.IsZero() && !spec.HasNetwork,
			"v1.3 containers: spec %+v", spec)
	}
	two, err := asks.ContainerInfo(r.container, &v1.ContainerInfoRequest{NumStats: 2})
	if r.well("v1.3 containers, two", err) {
		r.plausible("v1.3 containers, two", ofVersion1(two.Stats), 2, 2)
		start := two.Stats[len(two.Stats)-1].Timestamp
		// What came in the meantime may be there too, what was before may not.
		since, err := asks.ContainerInfo(r.container, &v1.ContainerInfoRequest{NumStats: 60, Start: start})
		if r.well("v1.3 containers, since", err) {
			r.plausible("v1.3 containers, since", ofVersion1(since.Stats), 1, 60)
			for _, one := range since.Stats {
				r.must(!one.Timestamp.Before(start), "v1.3 containers: %s is before %s", one.Timestamp, start)
			}
		}
		until, err := asks.ContainerInfo(r.container, &v1.ContainerInfoRequest{NumStats: 60, End: start})
		if r.well("v1.3 containers, until", err) {
			for _, one := range until.Stats {
				r.must(!one.Timestamp.After(start), "v1.3 containers: %s is after %s", one.Timestamp, start)
			}
			r.must(len(until.Stats) > 0, "v1.3 containers: nothing until %s", start)
		}
	}
	if sandbox, err := asks.ContainerInfo(r.sandbox, &v1.ContainerInfoRequest{NumStats: 1}); r.well("v1.3 sandbox", err) {
		if len(sandbox.Stats) != 1 || sandbox.Stats[0].Network == nil || !sandbox.Spec.HasNetwork {
			r.fault("v1.3 sandbox: no network: %+v", sandbox)
		} else {
			r.told.Sandbox = sandbox.Stats[0].Network.InterfaceStats
			r.must(len(sandbox.Stats[0].Network.Interfaces) > 0, "v1.3 sandbox: no interfaces")
		}
	}
	if pod, err := asks.ContainerInfo(r.pod, &v1.ContainerInfoRequest{NumStats: 1}); r.well("v1.3 pod", err) {
		var names []string
		for _, one := range pod.Subcontainers {
			names = append(names, one.Name)
		}
		r.must(slices.Contains(names, r.container) && slices.Contains(names, r.sandbox), "v1.3 pod: has %v", names)
	}
	if below, err := asks.SubcontainersInfo("/", &v1.ContainerInfoRequest{NumStats: 1}); r.well("v1.3 subcontainers", err) {
		for _, one := range below {
			r.told.Subcontainers = append(r.told.Subcontainers, one.Name)
		}
		for _, wanted := range []string{"/", r.pod, r.container, r.sandbox} {
			r.must(slices.Contains(r.told.Subcontainers, wanted), "v1.3 subcontainers: %s is missing", wanted)
		}
	}
	for _, name := range []string{r.id, r.id[:12]} {
		if one, err := asks.DockerContainer(name, &v1.ContainerInfoRequest{NumStats: 2}); r.well("v1.3 docker", err) {
			r.plausible("v1.3 docker", ofVersion1(one.Stats), 2, 2)
			r.must(slices.Contains(one.Aliases, r.id), "v1.3 docker: asked for %s, told of %v", name, one.Aliases)
		}
	}
	if all, err := asks.AllDockerContainers(&v1.ContainerInfoRequest{NumStats: 1}); r.well("v1.3 docker, all", err) {
		for _, one := range all {
			r.told.Docker = append(r.told.Docker, one.Aliases...)
		}
		r.must(slices.Contains(r.told.Docker, r.id), "v1.3 docker, all: %s is missing", r.id)
	}
	events, err := asks.EventStaticInfo("?creation_events=true&subcontainers=true&max_events=1000")
	if r.well("v1.3 events", err) {
		for _, event := range events {
			r.must(event.EventType == v1.EventContainerCreation && !event.Timestamp.IsZero(), "v1.3 events: %+v", event)
			r.told.Created = append(r.told.Created, event.ContainerName)
		}
		r.must(slices.Contains(r.told.Created, r.container), "v1.3 events: no creation of %s", r.container)
	}
	if _, err := asks.ContainerInfo("/nosuch", nil); err == nil || !strings.Contains(err.Error(), "/nosuch") {
		r.fault("v1.3 containers/nosuch: %v", err)
	}
	if _, err := asks.DockerContainer("nosuch", nil); err == nil || !strings.Contains(err.Error(), "nosuch") {
		r.fault("v1.3 docker/nosuch: %v", err)
	}
}

// The functions of `github.com/google/cadvisor/client/v2`, which asks v2.1.
func (r *reader) byVersion2() {
	asks, err := clientv2.NewClient(r.server)
	if !r.well("client/v2", err) {
		return
	}
	// The client hands on the JSON as it came.
	if version, err := asks.VersionInfo(); r.well("v2.1 version", err) {
		r.well("v2.1 version", json.Unmarshal([]byte(version), &r.told.Version))
		r.must(r.told.Version != "", "v2.1 version: %q", version)
	}
	if about, err := asks.Attributes(); r.well("v2.1 attributes", err) {
		r.told.Kernel = about.KernelVersion
		r.must(about.KernelVersion != "" && about.NumCores == r.told.Cores && about.MemoryCapacity == r.told.MemoryBytes,
			"v2.1 attributes: %+v", about)
	}
	if machine, err := asks.MachineInfo(); r.well("v2.1 machine", err) {
		r.must(machine.NumCores == r.told.Cores && machine.MemoryCapacity == r.told.MemoryBytes, "v2.1 machine: %+v", machine)
	}
	if stats, err := asks.MachineStats(); r.well("v2.1 machinestats", err) {
		for at, one := range stats {
			// The README says why only the last has a network.
			last := at == len(stats)-1
			if one.Cpu == nil || one.Memory == nil || (one.Network != nil) != last {
				r.fault("v2.1 machinestats: %+v", one)
				continue
			}
			r.told.Machine = append(r.told.Machine,
				sample{one.Timestamp, one.Cpu.Usage.Total, one.Memory.Usage, one.Memory.WorkingSet})
		}
		r.plausible("v2.1 machinestats", r.told.Machine, 2, 1000)
	}
	age := 3 * time.Second
	for _, how := range []struct {
		what, name  string
		options     v2.RequestOptions
		least, most int
	}{
		{"by name", r.container, v2.RequestOptions{IdType: "name", Count: 64}, 2, 64},
		{"all", r.container, v2.RequestOptions{IdType: "name", Count: -1}, 2, 1000},
		{"two", r.container, v2.RequestOptions{IdType: "name", Count: 2}, 2, 2},
		{"young", r.container, v2.RequestOptions{IdType: "name", Count: 64, MaxAge: &age}, 2, 64},
		{"by id", r.id, v2.RequestOptions{IdType: "docker", Count: 2}, 2, 2},
		{"by short id", r.id[:12], v2.RequestOptions{IdType: "docker", Count: 1}, 1, 1},
		{"below the pod", r.pod, v2.RequestOptions{IdType: "name", Count: 2, Recursive: true}, 2, 2},
		{"below all", "/", v2.RequestOptions{IdType: "name", Count: 2, Recursive: true}, 2, 2},
		{"every container", "/", v2.RequestOptions{IdType: "docker", Count: 2, Recursive: true}, 2, 2},
	} {
		what := "v2.1 stats, " + how.what
		all, err := asks.Stats(how.name, &how.options)
		if !r.well(what, err) {
			continue
		}
		info, found := r.find(all)
		if !found {
			r.fault("%s: %s is not among %d", what, r.container, len(all))
			continue
		}
		samples := ofVersion2(info.Stats)
		r.plausible(what, samples, how.least, how.most)
		r.must(info.Spec.HasCpu && info.Spec.HasMemory && slices.Contains(info.Spec.Aliases, r.id), "%s: %+v", what, info.Spec)
		r.must(how.options.Recursive || len(all) == 1, "%s: %d containers, not one", what, len(all))
		if how.what == "by name" {
			r.told.SamplesV2 = samples
		}
		// It does not choose among samples: the newest must be no older.
		if young := how.options.MaxAge; young != nil && len(samples) > 0 {
			newest := samples[len(samples)-1].Time
			r.must(time.Since(newest) <= *young, "%s: of %s", what, newest)
		}
	}
	sandbox, err := asks.Stats(r.sandbox, &v2.RequestOptions{IdType: "name", Count: 1})
	if r.well("v2.1 sandbox", err) {
		for _, info := range sandbox {
			if len(info.Stats) != 1 || info.Stats[0].Network == nil || len(info.Stats[0].Network.Interfaces) == 0 {
				r.fault("v2.1 sandbox: no network: %+v", info)
				continue
			}
			r.told.SandboxV2 = info.Stats[0].Network.Interfaces[0]
		}
	}
	for _, wrong := range []v2.RequestOptions{{IdType: "nosuch", Count: 1}, {IdType: "name", Count: -2}} {
		_, err := asks.Stats(r.container, &wrong)
		r.must(err != nil, "v2.1 stats: %+v is taken", wrong)
	}
}

// The container, under whichever name it goes.
func (r *reader) find(all map[string]v2.ContainerInfo) (v2.ContainerInfo, bool) {
	for name, info := range all {
		if name == r.container || slices.Contains(info.Spec.Aliases, r.id) {
			return info, true
		}
	}
	return v2.ContainerInfo{}, false
}

// Asks for a document, decodes it, and finds what cAdvisor has not: nothing but `added`, which is there.
func (r *reader) raw(path string, into any, added ...string) bool {
	response, err := http.Get(r.server + path)
	if !r.well(path, err) {
		return false
	}
	defer response.Body.Close()
	document, err := io.ReadAll(response.Body)
	if !r.well(path, err) {
		return false
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/json" {
		r.fault("%s: %s, %s: %s", path, response.Status, response.Header.Get("Content-Type"), document)
		return false
	}
	if !r.well(path, json.Unmarshal(document, into)) {
		return false
	}
	strangers, err := keys.Strangers(document, into, path)
	for _, key := range added {
		_, served := strangers[path+"."+key]
		r.must(served, "%s: %s is not added", path, key)
		delete(strangers, path+"."+key)
	}
	for _, where := range strangers {
		r.fault("%s: unknown to cAdvisor's types", where)
	}
	return r.well(path, err)
}

// What no function asks for, and a second look at what the others only decoded.
func (r *reader) withoutClient() {
	var summary map[string]v2.DerivedStats
	if r.raw("/api/v2.0/summary"+r.container, &summary) {
		of := summary[r.container]
		hour, day := of.HourUsage, of.DayUsage
		r.must(day.Cpu.Count >= hour.Cpu.Count && hour.Cpu.Count >= of.MinuteUsage.Cpu.Count && day.Memory.Present &&
			hour.Memory.Max >= of.MinuteUsage.Memory.Max, "v2.0 summary, of an hour and a day: %+v", of)
		r.told.Latest, r.told.MinuteSamples = of.LatestUsage, of.MinuteUsage.Cpu.Count
		minute := of.MinuteUsage
		r.must(len(summary) == 1 && !of.Timestamp.IsZero() && of.LatestUsage.Memory > 0, "v2.0 summary: %+v", summary)
		r.must(minute.Cpu.Present && minute.Memory.Present && minute.Memory.Max >= minute.Memory.Fifty &&
			minute.Memory.Fifty > 0 && minute.Cpu.Max >= minute.Cpu.Fifty, "v2.0 summary, of a minute: %+v", minute)
	}
	var stats map[string][]v2.DeprecatedContainerStats
	if r.raw("/api/v2.0/stats"+r.container+"?count=2", &stats) {
		of := stats[r.container]
		r.must(len(stats) == 1 && len(of) == 2, "v2.0 stats: %+v", stats)
		for _, one := range of {
			r.must(one.HasCpu && one.Cpu.Usage.Total > 0 && one.HasMemory && one.Memory.WorkingSet > 0 && !one.HasNetwork,
				"v2.0 stats: %+v", one)
		}
	}
	var spec map[string]v2.ContainerSpec
	if r.raw("/api/v2.0/spec"+r.container, &spec) {
		r.must(spec[r.container].Image != "" && spec[r.container].HasCpu, "v2.0 spec: %+v", spec)
	}
	var about v2.Attributes
	if r.raw("/api/v2.0/attributes", &about) {
		r.must(about.NumCores == r.told.Cores, "v2.0 attributes: %+v", about)
	}
	var version string
	if r.raw("/api/v2.0/version", &version) {
		r.must(version == r.told.Version, "v2.0 version: %s, not %s", version, r.told.Version)
	}
	var container v1.ContainerInfo
	for _, version := range []string{"v1.0", "v1.1", "v1.2", "v1.3"} {
		var machine v1.MachineInfo
		if r.raw("/api/"+version+"/machine", &machine) {
			r.must(machine.NumCores == r.told.Cores, "%s machine: %+v", version, machine)
		}
		if r.raw("/api/"+version+"/containers"+r.container, &container) {
			r.must(container.Name == r.container, "%s containers: %s", version, container.Name)
		}
	}
	var processes []v2.ProcessInfo
	if r.raw("/api/v2.0/ps"+r.container, &processes) {
		r.must(len(processes) > 0, "v2.0 ps: none")
		for _, one := range processes {
			// What a container runs has a parent, memory and a name, unless it has ended and nobody has waited for it.
			alive := !strings.HasPrefix(one.Status, "Z")
			r.must(one.Pid > 0 && one.Ppid > 0 && one.Cmd != "" && one.User != "" && one.CgroupPath == "" &&
				strings.Count(one.RunningTime, ":") == 2 && one.StartTime != "" && one.FdCount == 0 &&
				(!alive || one.RSS > 0 && one.VirtualSize >= one.RSS && one.PercentMemory >= 0), "v2.0 ps: %+v", one)
		}
	}
	var node []v2.ProcessInfo
	if r.raw("/api/v2.0/ps/", &node) {
		r.must(len(node) > len(processes), "v2.0 ps of the node: %d of %d", len(node), len(processes))
		for _, one := range processes {
			is := func(other v2.ProcessInfo) bool { return other.Pid == one.Pid }
			r.must(slices.ContainsFunc(node, is), "v2.0 ps of the node: no %+v", one)
		}
	}
	var storage []v2.FsInfo
	if r.raw("/api/v2.0/storage", &storage) {
		for _, one := range storage {
			r.must(one.Capacity > one.Usage && one.Usage > 0 && len(one.Labels) > 0, "v2.0 storage: %+v", one)
		}
		r.must(len(storage) > 0, "v2.0 storage: none")
	}
	var metrics map[string]any
	r.raw("/api/v2.0/appmetrics"+r.container, &metrics)
	var events []*v1.Event
	if r.raw("/api/v2.0/events?creation_events=true&subcontainers=true&max_events=1000", &events) {
		r.must(len(events) > 0, "v2.0 events: none")
	}
	var machine []v2.MachineStats
	// The README says why.
	r.raw("/api/v2.1/machinestats", &machine, "diskio")
	var all map[string]v2.ContainerInfo
	if r.raw("/api/v2.1/stats"+r.pod+"?type=name&recursive=true&count=2", &all) {
		r.must(len(all) >= 3, "v2.1 stats: the pod, its container and its sandbox, not %d", len(all))
	}
}
