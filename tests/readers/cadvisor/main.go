// Reads podvitals with cAdvisor's own client packages, and what these have no function for into the types of its
// REST. A document that does not decode is a fault, and so is one that lacks what its readers take for granted
// or has a key that cAdvisor has not.
//
//	cadvisor all -server URL -container CGROUP -id ID -sandbox CGROUP -pod CGROUP
//	cadvisor follow -server URL
//
// The first prints what it took, as JSON; faults go to stderr, one a line, and end it with 1. The second prints
// each creation and deletion as it is told of it, one a line, until it is killed.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"

	client "github.com/google/cadvisor/client"
	v1 "github.com/google/cadvisor/info/v1"
)

func main() {
	if len(os.Args) < 2 {
		fail([]string{"usage: cadvisor all|follow -server URL …"})
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	reader := reader{}
	flags.StringVar(&reader.server, "server", "http://127.0.0.1:9790", "who is asked")
	flags.StringVar(&reader.container, "container", "", "cgroup of a container that works")
	flags.StringVar(&reader.id, "id", "", "its id")
	flags.StringVar(&reader.sandbox, "sandbox", "", "cgroup of its pod's sandbox")
	flags.StringVar(&reader.pod, "pod", "", "cgroup of its pod")
	if err := flags.Parse(os.Args[2:]); err != nil {
		fail([]string{err.Error()})
	}
	switch os.Args[1] {
	case "all":
		reader.all()
		if len(reader.faults) > 0 {
			fail(reader.faults)
		}
		if err := json.NewEncoder(os.Stdout).Encode(reader.told); err != nil {
			fail([]string{err.Error()})
		}
	case "follow":
		follow(reader.server)
	default:
		fail([]string{os.Args[1] + ": neither all nor follow"})
	}
}

func fail(faults []string) {
	for _, fault := range faults {
		fmt.Fprintln(os.Stderr, "cadvisor:", fault)
	}
	os.Exit(1)
}

// What happens on the node, until the server ends it.
func follow(server string) {
	told, err := client.NewClient(server)
	if err != nil {
		fail([]string{err.Error()})
	}
	events := make(chan *v1.Event)
	go func() {
		for event := range events {
			fmt.Println(event.EventType, event.ContainerName)
		}
	}()
	err = told.EventStreamingInfo("?creation_events=true&deletion_events=true&subcontainers=true&stream=true", events)
	fail([]string{fmt.Sprintf("the events ended: %v", err)})
}
