//! Values that are taken, and those that are refused, with what is said of them.

use super::*;

fn with(variable: &'static str, value: &'static str) -> Result<Config, ConfigError> {
    Config::from_vars(|name| (name == variable).then(|| value.to_owned()))
}

#[test]
fn defaults_listen_on_loopback_each_second() {
    let config = Config::from_vars(|_| None).unwrap();
    assert_eq!(config.interval, Duration::from_secs(1));
    assert_eq!(config.listen, [Listen::Plain("127.0.0.1:9790".parse().unwrap())]);
}

#[test]
fn an_interval_that_is_too_short_is_refused_by_name() {
    let error = with("PODVITALS_INTERVAL", "10ms").unwrap_err();
    assert_eq!(error.to_string(), "PODVITALS_INTERVAL=\"10ms\": expected a duration from 100ms to 60s");
}

#[test]
fn a_history_is_of_a_second_to_half_an_hour_or_none() {
    let history = |text| with("PODVITALS_HISTORY", text).map(|config| config.history);
    assert_eq!(history(""), Ok(Duration::from_secs(300)));
    assert_eq!(history("0s"), Ok(Duration::ZERO));
    assert_eq!(history("1s"), Ok(Duration::from_secs(1)));
    assert_eq!(history("30m"), Ok(Duration::from_secs(1800)));
    for refused in ["31m", "999ms", "5", "-1s", "1d", "long"] {
        let error = history(refused).unwrap_err().to_string();
        let said =
            format!("PODVITALS_HISTORY={refused:?}: expected a duration from 1s to 30m, or 0s for none");
        assert_eq!(error, said);
    }
}

#[test]
fn an_address_beyond_loopback_needs_to_be_asked_for_out_loud() {
    let error = with("PODVITALS_LISTEN", "127.0.0.1:9790,0.0.0.0:9790").unwrap_err();
    assert!(error.to_string().contains("--insecure-public"), "{error}");
    let loud = Config::from_vars(|name| match name {
        "PODVITALS_LISTEN" => Some("0.0.0.0:9790".into()),
        "PODVITALS_INSECURE_PUBLIC" => Some("true".into()),
        _ => None,
    });
    assert!(loud.is_ok());
}

#[test]
fn a_knob_has_one_name_in_flag_and_environment() {
    let flags: Vec<String> = KNOBS.iter().map(Knob::flag).collect();
    assert!(flags.contains(&"node-name".to_owned()), "{flags:?}");
    assert!(KNOBS.iter().all(|knob| knob.variable.starts_with("PODVITALS_")));
}

#[test]
fn a_profile_is_lean_or_full() {
    let profile = |text| with("PODVITALS_PROFILE", text).map(|config| config.profile);
    assert_eq!([profile(""), profile("lean")], [Ok(Profile::Lean), Ok(Profile::Lean)]);
    assert_eq!(profile("cadvisor-full"), Ok(Profile::CadvisorFull));
    for refused in ["full", "Lean", "true"] {
        let error = profile(refused).unwrap_err().to_string();
        assert_eq!(error, format!("PODVITALS_PROFILE={refused:?}: expected lean or cadvisor-full"));
    }
}

#[test]
fn durations_have_a_unit() {
    assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
    assert_eq!(parse_duration("2m"), Some(Duration::from_secs(120)));
    assert_eq!(parse_duration("10"), None);
    assert_eq!(parse_duration("s"), None);
    assert_eq!(parse_duration("99999999999999999999999h"), None);
}

#[test]
fn sources_are_auto_cgroup_or_a_list() {
    let source = |value| with("PODVITALS_SOURCE", value).map(|config| config.source);
    assert_eq!(source("auto"), Ok(SourceChoice::Auto));
    assert_eq!(source("cgroup"), Ok(SourceChoice::Cgroup));
    let both = SourceChoice::These([AskedSource::Kube, AskedSource::Cri].into());
    assert_eq!(source("kube, cri"), Ok(both.clone()));
    assert!(both.names(AskedSource::Cri) && !both.wants(AskedSource::Kubelet));
    assert!(SourceChoice::Auto.wants(AskedSource::Kubelet));
    assert_eq!(source("docker"), Ok(SourceChoice::These([AskedSource::Docker].into())));
    for bad in ["kube,auto", "kube,", "docker-ce"] {
        assert!(matches!(source(bad), Err(ConfigError::Malformed { .. })), "{bad}");
    }
    let error = source("kubelet").unwrap_err().to_string();
    assert!(error.contains("PODVITALS_KUBELET_URL"), "{error}");
}

#[test]
fn a_runtime_s_socket_is_an_absolute_path_with_or_without_its_scheme() {
    let docker = |value| with("PODVITALS_DOCKER_ENDPOINT", value).map(|config| config.docker_endpoint);
    let path = || Ok(Some(PathBuf::from("/var/run/docker.sock")));
    assert_eq!(docker("unix:///var/run/docker.sock"), path());
    assert_eq!(docker("/var/run/docker.sock"), path());
    assert_eq!(docker(""), Ok(None));
    for bad in ["tcp://127.0.0.1:2375", "docker.sock", "unix://docker.sock"] {
        let error = docker(bad).unwrap_err().to_string();
        assert!(error.contains("PODVITALS_DOCKER_ENDPOINT") && error.contains("unix:///path"), "{error}");
        assert!(with("PODVITALS_CRI_ENDPOINT", bad).is_err(), "{bad}");
    }
}

#[test]
fn an_address_may_be_served_over_tls_without_being_called_insecure() {
    let config = with("PODVITALS_LISTEN", "127.0.0.1:9790,https://[::]:9791").unwrap();
    assert_eq!(config.listen[1], Listen::Tls("[::]:9791".parse().unwrap()));
    assert_eq!(config.listen[1].to_string(), "https://[::]:9791");
    assert!(with("PODVITALS_LISTEN", "https://example.org").is_err(), "a name is no address to listen on");
}

#[test]
fn a_certificate_needs_its_key_and_a_key_its_certificate() {
    let error = with("PODVITALS_TLS_CERT", "/tls/tls.crt").unwrap_err();
    assert_eq!(
        error.to_string(),
        "PODVITALS_TLS_CERT: needs PODVITALS_TLS_KEY: the certificate's private key"
    );
    assert!(with("PODVITALS_TLS_KEY", "/tls/tls.key").is_err());
    assert!(with("PODVITALS_CLIENT_CA", "relative.pem").is_err());
}

#[test]
fn the_kubelet_s_address_may_be_a_bare_ipv6_one() {
    let url = |value| with("PODVITALS_KUBELET_URL", value).map(|config| config.kubelet.unwrap().url);
    assert_eq!(url("https://10.0.0.7:10250").as_deref(), Ok("https://10.0.0.7:10250"));
    assert_eq!(url("https://fd00::7:10250").as_deref(), Ok("https://[fd00::7]:10250"));
    assert_eq!(url("https://[fd00::7]:10250/").as_deref(), Ok("https://[fd00::7]:10250"));
    for bad in ["http://n1:10250", "https://n1", "https://:10250", "https://n1:x", "https://a/b:1"] {
        assert!(url(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_variable_that_is_no_knob_is_told_from_those_of_a_service() {
    let variables =
        ["PODVITALS_INTERVAL", "PODVITALS_INTERVALL", "PODVITALS_SERVICE_HOST", "PODVITALS_PORT", "PATH"];
    assert_eq!(strangers(variables), ["PODVITALS_INTERVALL"]);
}

#[test]
fn a_variable_that_is_nearly_a_knob_is_told_which() {
    assert_eq!(closest("PODVITALS_INTERVALL"), Some("PODVITALS_INTERVAL"));
    assert_eq!(closest("PODVITALS_NODENAME"), Some("PODVITALS_NODE_NAME"));
    assert_eq!(closest("PODVITALS_interval"), Some("PODVITALS_INTERVAL"));
    assert_eq!(closest("PODVITALS_TLS_CRET"), Some("PODVITALS_TLS_CERT"));
    assert_eq!(closest("PODVITALS_DATABASE"), None);
    assert_eq!(closest("PODVITALS_"), None);
}
