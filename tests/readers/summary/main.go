// Reads a kubelet's summary as Go programs do, into k8s.io/kubelet/pkg/apis/stats/v1alpha1, and is stricter
// than they are: a key that these types do not know is a fault unless the README lists it as added, and so is
// one that the README lists and nobody serves.
//
//	summary -readme README.md [-without io.timeUnixNano,…] <summary.json
//	summary -readme README.md http://127.0.0.1:9790/stats/summary
//
// It prints what it took from the document, as JSON. Faults go to stderr, one a line, and end it with 1.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"podvitals.dev/tests/readers/keys"

	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

func main() {
	readme := flag.String("readme", "README.md", "where the added keys are listed")
	without := flag.String("without", "", "added keys that cannot be here, `holder.key,…`")
	flag.Parse()
	document, err := read(flag.Arg(0))
	if err != nil {
		fail([]string{err.Error()})
	}
	added, err := addedKeys(*readme)
	if err != nil {
		fail([]string{err.Error()})
	}
	told, faults := check(document, added, strings.FieldsFunc(*without, func(r rune) bool { return r == ',' }))
	if len(faults) > 0 {
		fail(faults)
	}
	if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
		fail([]string{err.Error()})
	}
}

func fail(faults []string) {
	for _, fault := range faults {
		fmt.Fprintln(os.Stderr, "summary:", fault)
	}
	os.Exit(1)
}

// The document of this URL; without one, what comes in.
func read(url string) ([]byte, error) {
	if url == "" {
		return io.ReadAll(os.Stdin)
	}
	response, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	document, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, response.Status, document)
	}
	return document, err
}

// The table that begins like this, in the README: keys in the first column, the objects that have them in the
// second, each in backquotes.
const head = "| added | to |"

// What the README lists, as `holder.key`.
func addedKeys(readme string) ([]string, error) {
	text, err := os.ReadFile(readme)
	if err != nil {
		return nil, err
	}
	_, after, found := strings.Cut(string(text), "\n"+head)
	if !found {
		return nil, fmt.Errorf("%s: no table that begins with %q", readme, head)
	}
	var added []string
	for _, line := range strings.Split(after, "\n")[2:] {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			break
		}
		for _, key := range quoted(cells[1]) {
			for _, holder := range quoted(cells[2]) {
				added = append(added, holder+"."+key)
			}
		}
	}
	if len(added) == 0 {
		return nil, fmt.Errorf("%s: the table of added keys is empty", readme)
	}
	return added, nil
}

// What stands in backquotes.
func quoted(cell string) []string {
	var words []string
	for at, part := range strings.Split(cell, "`") {
		if at%2 == 1 {
			words = append(words, part)
		}
	}
	return words
}

// Takes the document apart; what is wrong with it comes second.
func check(document []byte, added, without []string) (*told, []string) {
	var summary stats.Summary
	if err := json.Unmarshal(document, &summary); err != nil {
		return nil, []string{err.Error()}
	}
	strangers, err := keys.Strangers(document, summary, "summary")
	if err != nil {
		return nil, []string{err.Error()}
	}
	var faults []string
	for key, where := range strangers {
		if !slices.Contains(added, key) {
			faults = append(faults, fmt.Sprintf("%s: unknown to the kubelet's types, and not listed as added", where))
		}
	}
	for _, key := range added {
		_, served := strangers[key]
		if absent := slices.Contains(without, key); served == absent {
			faults = append(faults, fmt.Sprintf("%s: listed as added; served: %t, known to be absent: %t", key, served, absent))
		}
	}
	for _, key := range without {
		if !slices.Contains(added, key) {
			faults = append(faults, fmt.Sprintf("%s: known to be absent, but not listed as added", key))
		}
	}
	slices.Sort(faults)
	taken, missing := take(&summary)
	return taken, append(faults, missing...)
}

// What was taken from the document.
type told struct {
	Node string `json:"node"`
	Pods []pod  `json:"pods"`
}

type pod struct {
	Namespace  string     `json:"namespace"`
	Name       string     `json:"name"`
	UID        string     `json:"uid"`
	CPU        *uint64    `json:"usageNanoseconds,omitempty"`
	WorkingSet *uint64    `json:"workingSetBytes,omitempty"`
	RxBytes    *uint64    `json:"rxBytes,omitempty"`
	TxBytes    *uint64    `json:"txBytes,omitempty"`
	Containers []contents `json:"containers"`
}

type contents struct {
	Name       string `json:"name"`
	CPU        uint64 `json:"usageNanoseconds"`
	WorkingSet uint64 `json:"workingSetBytes"`
}

// Takes what readers take. What those look for that do not look whether it is there must be there.
func take(summary *stats.Summary) (*told, []string) {
	all := &told{Node: summary.Node.NodeName}
	var faults []string
	fault := func(format string, arguments ...any) { faults = append(faults, fmt.Sprintf(format, arguments...)) }
	if node := summary.Node; node.NodeName == "" || node.StartTime.IsZero() || node.CPU == nil || node.Memory == nil ||
		node.CPU.UsageCoreNanoSeconds == nil || *node.CPU.UsageCoreNanoSeconds == 0 ||
		node.Memory.WorkingSetBytes == nil || *node.Memory.WorkingSetBytes == 0 {
		fault("node: no name, start, CPU time or memory: %+v", node)
	}
	if len(summary.Pods) == 0 {
		fault("no pods")
	}
	for _, stats := range summary.Pods {
		of := stats.PodRef
		taken := pod{Namespace: of.Namespace, Name: of.Name, UID: of.UID, Containers: []contents{}}
		if of.Name == "" || of.Namespace == "" || of.UID == "" {
			fault("pods: without a name, a namespace or a UID: %+v", of)
		}
		if cpu := stats.CPU; cpu != nil {
			taken.CPU = cpu.UsageCoreNanoSeconds
		}
		if memory := stats.Memory; memory != nil {
			taken.WorkingSet = memory.WorkingSetBytes
		}
		if network := stats.Network; network != nil {
			taken.RxBytes, taken.TxBytes = network.RxBytes, network.TxBytes
			if network.Time.IsZero() {
				fault("%s/%s: a network without a time", of.Namespace, of.Name)
			}
		}
		for _, container := range stats.Containers {
			cpu, memory := container.CPU, container.Memory
			if container.Name == "" || cpu == nil || cpu.Time.IsZero() || cpu.UsageCoreNanoSeconds == nil ||
				memory == nil || memory.Time.IsZero() || memory.WorkingSetBytes == nil || memory.UsageBytes == nil {
				fault("%s/%s: a container without a name, CPU time or memory: %+v", of.Namespace, of.Name, container)
				continue
			}
			taken.Containers = append(taken.Containers,
				contents{container.Name, *cpu.UsageCoreNanoSeconds, *memory.WorkingSetBytes})
		}
		all.Pods = append(all.Pods, taken)
	}
	return all, faults
}
