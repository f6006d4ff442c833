//! Every knob: its name, what it does, what is accepted, and its default.

/// One knob: its variable, what a bad value is told to be, and its default as a user would write it.
pub struct Knob {
    /// The environment variable; the flag is its tail in kebab-case.
    pub variable: &'static str,
    /// One line for the help text, with what is accepted.
    pub help: &'static str,
    /// The default; empty means *none*.
    pub default: &'static str,
}

impl Knob {
    /// The name of its flag, without the dashes: `node-name`.
    pub fn flag(&self) -> String {
        let tail = self.variable.strip_prefix("PODVITALS_").unwrap_or(self.variable);
        tail.to_ascii_lowercase().replace('_', "-")
    }
}

/// Every knob of `serve`.
pub const KNOBS: &[Knob] = &[
    Knob {
        variable: "PODVITALS_NODE_NAME",
        help: "name of this node in documents (default: the host name)",
        default: "",
    },
    Knob {
        variable: "PODVITALS_LISTEN",
        help: "where to listen, comma-separated: 127.0.0.1:9790, unix:///path, https://[::]:9791",
        default: "127.0.0.1:9790",
    },
    Knob { variable: "PODVITALS_INTERVAL", help: "time between sweeps, 100ms to 60s", default: "1s" },
    Knob {
        variable: "PODVITALS_SOURCE",
        help: "who names the pods: auto (all that are configured), some of kube,kubelet,cri,docker, or cgroup (nobody)",
        default: "auto",
    },
    Knob {
        variable: "PODVITALS_NETWORK_SOURCE",
        help: "which side of the pod's link is read: auto, netns, host",
        default: "auto",
    },
    Knob {
        variable: "PODVITALS_PROC_ROOT",
        help: "the host's /proc; a mount of it inside a container",
        default: "/proc",
    },
    Knob { variable: "PODVITALS_CGROUP_ROOT", help: "the host's /sys/fs/cgroup", default: "/sys/fs/cgroup" },
    Knob {
        variable: "PODVITALS_CRI_ENDPOINT",
        help: "socket of the container runtime, unix:///path (default: the first well-known one that exists)",
        default: "",
    },
    Knob {
        variable: "PODVITALS_DOCKER_ENDPOINT",
        help: "socket of the Docker Engine, unix:///path (default: /var/run/docker.sock if it exists)",
        default: "",
    },
    Knob {
        variable: "PODVITALS_KUBELET_URL",
        help: "this node's kubelet, for source kubelet: https://host:10250",
        default: "",
    },
    Knob {
        variable: "PODVITALS_KUBELET_CA",
        help: "PEM file of the authority that signed the kubelet's certificate (default: the service account's)",
        default: "",
    },
    Knob {
        variable: "PODVITALS_KUBELET_INSECURE_TLS",
        help: "take the kubelet's certificate whoever signed it: true, false",
        default: "false",
    },
    Knob {
        variable: "PODVITALS_TLS_CERT",
        help: "PEM file of the certificate for https addresses (default: one made at start); re-read when it changes",
        default: "",
    },
    Knob { variable: "PODVITALS_TLS_KEY", help: "PEM file of its private key", default: "" },
    Knob {
        variable: "PODVITALS_CLIENT_CA",
        help: "PEM file of an authority whose clients are let in without a token; make one for this alone",
        default: "",
    },
    Knob {
        variable: "PODVITALS_INSECURE_PUBLIC",
        help: "serve everybody: plain HTTP beyond loopback, no access control on https addresses: true, false",
        default: "false",
    },
    Knob {
        variable: "PODVITALS_HTTP2",
        help: "offer HTTP/2 on https addresses: true, false",
        default: "false",
    },
    Knob {
        variable: "PODVITALS_PROFILE",
        help: "which series /metrics/cadvisor has unless ?profile= says: lean (what rules read), cadvisor-full",
        default: "lean",
    },
    Knob {
        variable: "PODVITALS_DOCKER_PERCPU",
        help: "for old Docker clients, CPU time in equal parts as percpu_usage: true, false",
        default: "false",
    },
    Knob {
        variable: "PODVITALS_HISTORY",
        help: "how much history is kept in memory, up to 30m; 0s: none",
        default: "5m",
    },
    Knob { variable: "PODVITALS_LOG_FORMAT", help: "form of log lines: text, json", default: "text" },
    Knob {
        variable: "PODVITALS_LOG_LEVEL",
        help: "the least that is logged: error, warn, info, debug, trace",
        default: "info",
    },
];

/// Variables that begin like a knob's and are none: a typing error, or a knob of another version.
pub fn strangers<'a>(variables: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let of_clients = ["PODVITALS_SERVER", "PODVITALS_TOKEN_FILE"];
    let is_knob = |name: &&str| KNOBS.iter().any(|knob| knob.variable == *name) || of_clients.contains(name);
    let ours = variables.into_iter().filter(|name| name.starts_with("PODVITALS_"));
    // The kubelet describes every Service of the namespace in variables; ours may be called podvitals.
    let of_service = |name: &&str| ["_SERVICE_", "_PORT"].iter().any(|part| name.contains(part));
    ours.filter(|name| !is_knob(name) && !of_service(name)).collect()
}

/// The knob that `stranger` is most like, if few letters differ.
pub fn closest(stranger: &str) -> Option<&'static str> {
    let tail = |name: &str| name.strip_prefix("PODVITALS_").unwrap_or(name).to_ascii_uppercase();
    let stranger = tail(stranger);
    let far = |knob: &&Knob| distance(stranger.as_bytes(), tail(knob.variable).as_bytes());
    let nearest = KNOBS.iter().min_by_key(far)?;
    (far(&nearest) <= (stranger.len() / 3).clamp(1, 3)).then_some(nearest.variable)
}

/// Letters to put in, take out or change.
fn distance(one: &[u8], other: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let changed = corner + usize::from(a != b);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}
