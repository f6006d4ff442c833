//! The port that is open to the cluster, in bad company.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::accounts::Account;
use crate::accounts::all_paths;
use crate::honest::Witness;
use crate::reader::Reader;
use crate::siege;
use crate::siege::Addresses;
use crate::stage::NAMESPACE;
use crate::stage::Stage;

/// Connections that podvitals keeps, of all clients together.
const CONNECTIONS: usize = 256;

/// Descriptors besides those of what is sampled, as long as nobody attacks: sockets, pipes, directories.
const QUIET: usize = 96;

/// One attack.
const SPELL: Duration = Duration::from_secs(10);

pub(crate) async fn who_holds_connections_delays_nobody(stage: Arc<Stage>) {
    let account = Account::make(&stage.cluster, "besieged").await.allow(&all_paths()).await;
    // Comes from the node's own address, as the kubelet's probes do. Some of the attackers do, too.
    let reader = stage.scraper(Some(account.token().await)).await;
    let stranger = stage.scraper(None).await;
    let pod = stage.daemon_pod().await;
    let on_node = stage.cluster.find_on_node(NAMESPACE, &pod).await.unwrap().unwrap();
    let pid = on_node.container("podvitals").unwrap().pid;
    siege::allow_descriptors(12_000);
    let guests = Addresses::add(&stage.cluster, 63);
    let mut addresses = guests.all();
    addresses.push(stage.cluster.node_address().into());

    let witness = Witness::call(reader.clone(), pid);
    tokio::time::sleep(SPELL / 2).await;
    witness.dismiss().hold("in peace", QUIET);
    // The connections it keeps, and those it has just turned away and not closed yet.
    let most = QUIET + 2 * CONNECTIONS;

    let witness = Witness::call(reader.clone(), pid);
    let connected = siege::half_open(&stranger, &addresses, 10_000, Instant::now() + SPELL).await;
    witness.dismiss().hold("10,000 half-open", most);
    assert_eq!(connected, 10_000, "each was taken, and none was kept waiting");

    let witness = Witness::call(reader.clone(), pid);
    let toll = siege::drip(&stranger, &addresses, 1_000, Instant::now() + SPELL).await;
    witness.dismiss().hold("1,000 slow heads", most);
    let (connected, cut) = (toll.connected.load(Ordering::Relaxed), toll.cut.load(Ordering::Relaxed));
    println!("       {connected} connections, {cut} cut");
    assert!(connected >= 1_000 && cut >= 1_000 - CONNECTIONS, "{connected} connected, {cut} cut");

    let witness = Witness::call(reader.clone(), pid);
    // Sixteen of an address, which is what podvitals grants one.
    let toll = siege::never_read(&reader, &addresses[..4], 64, Instant::now() + SPELL).await;
    witness.dismiss().hold("64 that never read", most);
    let (connected, cut) = (toll.connected.load(Ordering::Relaxed), toll.cut.load(Ordering::Relaxed));
    println!("       {connected} connections, {cut} cut");
    assert!(connected >= 64 && cut >= 64, "{connected} connected, {cut} cut");

    drop(guests);
    let witness = Witness::call(reader.clone(), pid);
    tokio::time::sleep(SPELL / 2).await;
    witness.dismiss().hold("in peace again", QUIET);
    still_the_same(&stage, &pod, &reader).await;
    account.remove().await;
}

/// The pod has not been restarted, and everything works.
async fn still_the_same(stage: &Stage, pod: &str, reader: &Reader) {
    let seen = stage.cluster.get_json(&["pod", "-n", NAMESPACE, pod]).await.unwrap();
    let status = &seen["status"]["containerStatuses"][0];
    assert_eq!(
        (status["restartCount"].as_u64(), status["ready"].as_bool()),
        (Some(0), Some(true)),
        "{status}"
    );
    let list = reader.next_list().await;
    assert!(list.pods.iter().any(|one| one.name.as_deref() == Some(pod)));
    let (_forward, forwarded) = stage.port_forward().await;
    assert!(forwarded.next_list().await.tick > list.tick);
}

pub(crate) async fn odd_requests_are_refused_one_by_one(stage: Arc<Stage>) {
    let account = Account::make(&stage.cluster, "odd").await.allow(&all_paths()).await;
    let reader = stage.scraper(Some(account.token().await)).await;
    let token = reader.token.clone().unwrap();
    let head = |target: &[u8], more: &str| {
        let rest = format!(
            " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{more}Connection: close\r\n\r\n"
        );
        [b"GET ".as_slice(), target, rest.as_bytes()].concat()
    };
    let long = |name: &str, bytes: usize| format!("{name}: {}\r\n", "a".repeat(bytes));
    let query = format!("/api/v1/pods?fields={}", "a".repeat(100_000));
    let many: String = (0..200).map(|n| format!("X-{n}: {n}\r\n")).collect();
    let whole = head(b"/livez", "");
    let cases: [(&str, Vec<u8>, &[u16]); 17] = [
        ("nothing odd", head(b"/api/v1/pods", ""), &[200]),
        ("a header of 9 kB", head(b"/api/v1/pods", &long("X-Long", 9_000)), &[431]),
        ("a header of 1 MB", head(b"/api/v1/pods", &long("X-Long", 1_000_000)), &[431]),
        ("a token of 7 kB", head(b"/api/v1/pods", &long("Authorization", 7_000)), &[400, 431]),
        ("200 headers", head(b"/api/v1/pods", &many), &[431]),
        ("a query of 100 kB", head(query.as_bytes(), ""), &[414, 431]),
        ("..", head(b"/../../etc/passwd", ""), &[400, 404]),
        (".. below a route", head(b"/api/v1/pods/../../../etc/passwd", ""), &[400, 404]),
        (".. in percents", head(b"/%2e%2e/%2e%2e/etc/passwd", ""), &[400, 404]),
        ("a slash in percents", head(b"/..%2f..%2f..%2fetc%2fpasswd", ""), &[400, 404]),
        ("NUL in percents", head(b"/api/v1/pods/%00", ""), &[400, 404]),
        ("NUL", head(b"/api/v1/pods/\0", ""), &[400]),
        ("NUL in a header", head(b"/api/v1/pods", "X-Nul: a\0b\r\n"), &[400]),
        ("a target that is no path", head(b"pods", ""), &[400]),
        ("a space in the target", head(b"/api/v1/ pods", ""), &[400]),
        ("two tokens", head(b"/api/v1/pods", "Authorization: Bearer x\r\n"), &[400]),
        ("POST", [b"POST".as_slice(), &whole[3..]].concat(), &[405]),
    ];
    for (what, request, expected) in cases {
        let answer = reader.exchange(&request).await.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        assert!(expected.contains(&answer.status), "{what}: {} {}", answer.head, answer.body);
        assert!(!answer.body.contains("root:"), "{what}: {}", answer.body);
        assert_eq!(reader.get("/livez").await.status, 200, "after {what}");
    }
    let pod = stage.daemon_pod().await;
    still_the_same(&stage, &pod, &reader).await;
    account.remove().await;
}

/// A web page in the browser of somebody who runs `kubectl port-forward` can point its own name at
/// 127.0.0.1. What it cannot change is that its requests carry that name.
pub(crate) async fn a_web_page_cannot_read_through_a_port_forward(stage: Arc<Stage>) {
    let (_forward, forwarded) = stage.port_forward().await;
    let port = forwarded.address().port();
    let with = |hosts: &[&str]| {
        let lines: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        format!("GET /api/v1/pods HTTP/1.1\r\n{lines}Connection: close\r\n\r\n")
    };
    let (own, address) = (format!("localhost:{port}"), format!("127.0.0.1:{port}"));
    for hosts in [&[own.as_str()][..], &[&address], &["[::1]"]] {
        let answer = forwarded.exchange(with(hosts).as_bytes()).await.unwrap();
        assert_eq!(answer.status, 200, "{hosts:?}");
        assert!(answer.body.contains("\"pods\""), "{hosts:?}");
    }
    let evil = format!("evil.example:{port}");
    for hosts in
        [&[evil.as_str()][..], &["localhost.evil.example"], &["127.0.0.1.evil.example"], &[&own, &evil]]
    {
        let answer = forwarded.exchange(with(hosts).as_bytes()).await.unwrap();
        assert!([400, 421].contains(&answer.status), "{hosts:?}: {}", answer.head);
        assert!(!answer.body.contains("\"pods\""), "{hosts:?}: {}", answer.body);
    }
}
