//! The DaemonSet: what it is allowed on the node, what it says to podvitals, what it refers to.

use std::collections::{BTreeMap, BTreeSet};

use podvitals::config::{AskedSource, Config, KNOBS, Listen, strangers};
use serde_json::{Value, json};

use super::render;

fn pod(documents: &[Value]) -> &Value {
    &render::daemonset(documents)["spec"]["template"]["spec"]
}

fn container(documents: &[Value]) -> &Value {
    let containers = pod(documents)["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    &containers[0]
}

/// The variables with a value, `$(NODE_IP)` and the like as the kubelet fills them in.
fn environment(documents: &[Value]) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for variable in container(documents)["env"].as_array().unwrap() {
        let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("spec.nodeName") => "n1".to_owned(),
            Some("status.hostIP") => "192.0.2.7".to_owned(),
            Some(other) => panic!("{other}"),
            None => variable["value"].as_str().unwrap().to_owned(),
        };
        let value =
            found.iter().fold(value, |value, (name, known)| value.replace(&format!("$({name})"), known));
        let twice = found.insert(variable["name"].as_str().unwrap().to_owned(), value);
        assert_eq!(twice, None, "{}", variable["name"]);
    }
    found
}

fn config(documents: &[Value]) -> Config {
    let variables = environment(documents);
    Config::from_vars(|name| variables.get(name).cloned()).unwrap_or_else(|error| panic!("{error}"))
}

/// The paths of the host that are mounted, each with whether it can only be read.
fn host_paths(documents: &[Value]) -> BTreeMap<&str, bool> {
    let mounts = container(documents)["volumeMounts"].as_array().unwrap();
    let volumes = pod(documents)["volumes"].as_array().unwrap().iter();
    let host = volumes.filter_map(|volume| Some((&volume["name"], volume["hostPath"]["path"].as_str()?)));
    host.map(|(name, path)| {
        let mut of = mounts.iter().filter(|mount| mount["name"] == *name);
        (path, of.all(|mount| mount["readOnly"] == true))
    })
    .collect()
}

#[test]
fn by_default_nothing_is_granted_but_two_folders_to_read() {
    let documents = render::case("default");
    let pod = pod(&documents);
    for grant in ["hostPID", "hostNetwork", "hostIPC", "hostUsers", "initContainers", "priorityClassName"] {
        assert!(pod[grant].is_null(), "{grant}");
    }
    assert_eq!(
        pod["securityContext"],
        json!({
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
            "seccompProfile": { "type": "RuntimeDefault" },
        })
    );
    assert_eq!(
        container(&documents)["securityContext"],
        json!({
            "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
            "privileged": false, "readOnlyRootFilesystem": true,
        })
    );
    assert_eq!(host_paths(&documents), BTreeMap::from([("/proc", true), ("/sys/fs/cgroup", true)]));
    for mount in container(&documents)["volumeMounts"].as_array().unwrap() {
        assert!(mount["mountPropagation"].is_null(), "{mount}");
        // The controllers of cgroup v1 are mounts of their own below it.
        assert_eq!(mount["recursiveReadOnly"], "IfPossible");
    }
    assert!(container(&documents)["resources"]["limits"]["cpu"].is_null());
}

#[test]
fn every_grant_is_behind_its_value() {
    for (case, documents) in render::cases() {
        let pod = pod(&documents);
        assert_eq!(pod["hostPID"] == true, case == "host-pid", "{case}");
        assert_eq!(pod["hostNetwork"] == true, case == "host-network", "{case}");
        // Said for the host's network too: what Kubernetes fills in, an upgrade does not take back.
        let on_node = container(&documents)["ports"][0]["hostPort"] == 9791;
        assert_eq!(on_node, ["tls-secret", "host-network"].contains(&case.as_str()), "{case}");
        let mut wanted = BTreeMap::from([("/proc", true), ("/sys/fs/cgroup", true)]);
        match case.as_str() {
            "runtime-socket" => wanted.insert("/run/containerd", true),
            "docker-socket" => wanted.insert("/var/run", true),
            "everything" => wanted.insert("/run/k3s/containerd", true),
            _ => None,
        };
        assert_eq!(host_paths(&documents), wanted, "{case}");
        assert_eq!(container(&documents)["securityContext"]["capabilities"], json!({ "drop": ["ALL"] }));
        // Variables of a Service that happens to be called podvitals would look like knobs.
        assert_eq!(pod["enableServiceLinks"], false, "{case}");
    }
    let socket = render::case("runtime-socket");
    let mount = &container(&socket)["volumeMounts"][2];
    assert_eq!(mount["mountPropagation"], "HostToContainer");
    assert_eq!(pod(&socket)["securityContext"]["supplementalGroups"], json!([0]));
}

#[test]
fn a_socket_is_asked_in_the_language_of_who_listens_there() {
    let told = |case| {
        let config = config(&render::case(case));
        let asked = [AskedSource::Cri, AskedSource::Docker].map(|source| config.source.names(source));
        (config.cri_endpoint, config.docker_endpoint, asked)
    };
    let containerd = Some("/host/run/containerd/containerd.sock".into());
    assert_eq!(told("runtime-socket"), (containerd, None, [true, false]));
    assert_eq!(told("docker-socket"), (None, Some("/host/var/run/docker.sock".into()), [false, true]));
}

#[test]
fn podvitals_understands_what_it_is_told() {
    for (case, documents) in render::cases() {
        let variables = environment(&documents);
        let unknown = strangers(variables.keys().map(String::as_str));
        assert_eq!(unknown, Vec::<&str>::new(), "{case}");
        let config = config(&documents);
        assert_eq!(config.node_name.as_deref(), Some("n1"), "{case}");
        let minutes = if case == "everything" { 10 } else { 5 };
        assert_eq!(config.history.as_secs(), minutes * 60, "{case}");
        assert_eq!(config.insecure_public, ["no-access", "plain"].contains(&case.as_str()), "{case}");
        for (variable, path) in [("PODVITALS_PROC_ROOT", "proc"), ("PODVITALS_CGROUP_ROOT", "cgroup")] {
            let mounts = container(&documents)["volumeMounts"].as_array().unwrap();
            let mount = mounts.iter().find(|mount| mount["name"] == path).unwrap();
            assert_eq!(variables[variable], mount["mountPath"].as_str().unwrap(), "{case}");
        }
    }
    let listen =
        |case| config(&render::case(case)).listen.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(listen("default"), ["http://127.0.0.1:9790", "https://[::]:9791"]);
    assert_eq!(listen("host-network"), ["https://[::]:9791"]);
    assert_eq!(listen("no-access"), ["http://0.0.0.0:9790", "https://[::]:9791"]);
    let kubelet = config(&render::case("kubelet")).kubelet.unwrap();
    assert_eq!(kubelet.url, "https://192.0.2.7:10250");
}

#[test]
fn every_knob_has_a_value() {
    let cases = render::cases();
    let said: BTreeSet<_> = cases.values().flat_map(|documents| environment(documents).into_keys()).collect();
    let without: Vec<_> =
        KNOBS.iter().map(|knob| knob.variable).filter(|name| !said.contains(*name)).collect();
    assert_eq!(without, Vec::<&str>::new(), "knobs that no case of the chart sets");
}

#[test]
fn probes_ask_the_port_that_the_kubelet_can_reach() {
    for (case, documents) in render::cases() {
        let container = container(&documents);
        let reachable = config(&documents).listen.into_iter().rev().find_map(|listen| match listen {
            Listen::Tls(address) if !address.ip().is_loopback() => Some(("HTTPS", address.port())),
            Listen::Plain(address) if !address.ip().is_loopback() => Some(("HTTP", address.port())),
            _ => None,
        });
        for (probe, path) in
            [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
        {
            let Some((scheme, port)) = reachable else {
                assert!(container[probe].is_null(), "{case}: nobody can be asked");
                continue;
            };
            let ask = &container[probe]["httpGet"];
            assert_eq!((&ask["path"], &ask["scheme"]), (&json!(path), &json!(scheme)), "{case}");
            assert_eq!(ask["port"], container["ports"][0]["name"], "{case}");
            assert_eq!(container["ports"][0]["containerPort"], port, "{case}");
        }
    }
}

#[test]
fn what_is_referred_to_is_there() {
    for (case, documents) in render::cases() {
        let pod = pod(&documents);
        let names = |of: &Value| -> BTreeSet<String> {
            let items = of.as_array().into_iter().flatten();
            items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&pod["volumes"]), names(&container(&documents)["volumeMounts"]), "{case}");
        let made = |kind, name: &Value| {
            render::of_kind(&documents, kind).any(|document| document["metadata"]["name"] == *name)
        };
        assert!(made("ServiceAccount", &pod["serviceAccountName"]), "{case}");
        for volume in pod["volumes"].as_array().unwrap() {
            let name = &volume["configMap"]["name"];
            assert!(name.is_null() || made("ConfigMap", name), "{case}: {name}");
        }
        // The files that podvitals is told of are mounted.
        for (name, path) in environment(&documents) {
            if ["_CERT", "_KEY", "_CA"].iter().any(|end| name.ends_with(end)) {
                let mounts = container(&documents)["volumeMounts"].as_array().unwrap();
                let mounted = |mount: &Value| path.starts_with(mount["mountPath"].as_str().unwrap());
                assert!(mounts.iter().any(mounted), "{case}: {name}={path}");
            }
        }
    }
}

#[test]
fn selectors_find_the_pods_and_not_the_one_of_the_test() {
    for (case, documents) in render::cases() {
        let daemonset = render::daemonset(&documents);
        let labels = &daemonset["spec"]["template"]["metadata"]["labels"];
        let found = |selector: &Value, labels: &Value| {
            selector.as_object().unwrap().iter().all(|(key, value)| labels[key] == *value)
        };
        let mut selectors = vec![&daemonset["spec"]["selector"]["matchLabels"]];
        for document in &documents {
            match document["kind"].as_str().unwrap() {
                "Service" => selectors.push(&document["spec"]["selector"]),
                "NetworkPolicy" => selectors.push(&document["spec"]["podSelector"]["matchLabels"]),
                "PodMonitor" => selectors.push(&document["spec"]["selector"]["matchLabels"]),
                _ => {}
            }
        }
        for selector in selectors {
            assert_eq!(selector.as_object().unwrap().len(), 2, "{case}");
            assert!(found(selector, labels), "{case}: {selector}");
            for pod in documents.iter().filter(|document| document["kind"] == "Pod") {
                assert!(!found(selector, &pod["metadata"]["labels"]), "{case}: {selector}");
            }
        }
    }
}

#[test]
fn everything_carries_the_labels_that_tools_look_for() {
    for (case, documents) in render::cases() {
        for document in documents.iter().filter(|document| document["metadata"]["name"] != "extra-text") {
            let labels = &document["metadata"]["labels"];
            if document["metadata"]["name"] == "extra-object" {
                continue;
            }
            for label in ["name", "instance", "version", "component", "part-of", "managed-by"] {
                let name = &document["metadata"]["name"];
                assert!(labels[format!("app.kubernetes.io/{label}")].is_string(), "{case}: {name}: {label}");
            }
            assert!(labels["helm.sh/chart"].is_string(), "{case}");
        }
    }
}
