//! Those who mean no good: connections that cost a server more than the client, from many addresses.

use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use podvitals_testbed::Cluster;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::reader::Reader;
use crate::reader::Stream;

/// After it was cut an attacker comes again.
const PAUSE: Duration = Duration::from_secs(1);

/// Addresses of this machine on the cluster's bridge, besides the one it has; gone when dropped, or with
/// the bridge.
pub(crate) struct Addresses {
    bridge: String,
    all: Vec<Ipv4Addr>,
}

impl Addresses {
    pub(crate) fn add(cluster: &Cluster, count: u32) -> Self {
        // The bridge's own is the first of a /22. Pods get theirs from below, these are from the top.
        let last = u32::from(cluster.node_address()) - 1 + (1 << 10) - 2;
        let all = (0..count).map(|n| Ipv4Addr::from(last - n)).collect();
        let addresses = Self { bridge: cluster.testbed().bridge(), all };
        addresses.change("add").unwrap();
        addresses
    }

    pub(crate) fn all(&self) -> Vec<IpAddr> {
        self.all.iter().map(|address| IpAddr::V4(*address)).collect()
    }

    fn change(&self, action: &str) -> std::io::Result<()> {
        let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
        if let Some(mut input) = ip.stdin.take() {
            for address in &self.all {
                writeln!(input, "address {action} {address}/32 dev {}", self.bridge)?;
            }
        }
        assert!(ip.wait()?.success(), "ip address {action}");
        Ok(())
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        let _ = self.change("delete");
    }
}

/// Lets this process have so many files open.
pub(crate) fn allow_descriptors(count: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < count) {
        let maximum = maximum.map(|maximum| maximum.max(count));
        let limit = Rlimit { current: Some(count), maximum };
        setrlimit(Resource::Nofile, limit).unwrap_or_else(|error| panic!("{count} descriptors: {error}"));
    }
}

/// One of the addresses after the other.
fn from(reader: &Reader, addresses: &[IpAddr], n: usize) -> Reader {
    reader.coming_from(addresses[n % addresses.len()])
}

/// Connects so often and sends nothing, and holds all of them to the end. Returns how many connected.
pub(crate) async fn half_open(reader: &Reader, addresses: &[IpAddr], count: usize, until: Instant) -> usize {
    let connect =
        |n| async move { timeout(Duration::from_secs(20), from(reader, addresses, n).connect()).await };
    // As many at once as a listener's queue takes; the rest would wait a second for their next try.
    let outcomes: Vec<_> = stream::iter(0..count).map(connect).buffer_unordered(256).collect().await;
    sleep(until.saturating_duration_since(Instant::now())).await;
    outcomes.iter().filter(|outcome| matches!(outcome, Ok(Ok(_)))).count()
}

/// What became of attackers.
#[derive(Default)]
pub(crate) struct Toll {
    pub(crate) connected: AtomicUsize,
    /// The server hung up.
    pub(crate) cut: AtomicUsize,
}

/// So many clients that send a byte of their request now and then, over TLS or of the handshake itself.
pub(crate) async fn drip(reader: &Reader, addresses: &[IpAddr], count: usize, until: Instant) -> Arc<Toll> {
    let toll = Arc::new(Toll::default());
    let mut all = JoinSet::new();
    for n in 0..count {
        let (reader, toll) = (from(reader, addresses, n), toll.clone());
        all.spawn(async move {
            // Not all in the same moment.
            sleep(Duration::from_millis(n as u64 * 2)).await;
            while Instant::now() < until {
                let dripped = if n % 4 == 0 {
                    drip_head(&reader, &toll).await
                } else {
                    drip_hello(&reader, &toll).await
                };
                if dripped.is_err() {
                    toll.cut.fetch_add(1, Ordering::Relaxed);
                }
                sleep(PAUSE).await;
            }
        });
    }
    let _ = tokio::time::timeout_at(until, all.join_all()).await;
    toll
}

async fn drip_head(reader: &Reader, toll: &Toll) -> anyhow::Result<()> {
    let mut stream = timeout(Duration::from_secs(10), reader.stream()).await??;
    toll.connected.fetch_add(1, Ordering::Relaxed);
    drip_bytes(
        &mut stream,
        b"GET /api/v1/pods HTTP/1.1\r\nHost: localhost\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaa",
    )
    .await
}

async fn drip_hello(reader: &Reader, toll: &Toll) -> anyhow::Result<()> {
    let mut stream = reader.connect().await?;
    toll.connected.fetch_add(1, Ordering::Relaxed);
    // A handshake record of 512 bytes, a ClientHello of 508: the rest comes later, or never.
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    hello.extend([0; 64]);
    drip_bytes(&mut stream, &hello).await
}

async fn drip_bytes(stream: &mut (impl Stream + ?Sized), bytes: &[u8]) -> anyhow::Result<()> {
    let mut answer = [0; 512];
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        stream.flush().await?;
        match timeout(Duration::from_millis(300), stream.read(&mut answer)).await {
            Ok(Ok(0)) => anyhow::bail!("the server hung up"),
            Ok(read) => drop(read?),
            Err(_) => {}
        }
    }
    Ok(())
}

/// So many clients that ask and ask and read nothing.
pub(crate) async fn never_read(
    reader: &Reader,
    addresses: &[IpAddr],
    count: usize,
    until: Instant,
) -> Arc<Toll> {
    let toll = Arc::new(Toll::default());
    let mut all = JoinSet::new();
    for n in 0..count {
        let (reader, toll) = (from(reader, addresses, n), toll.clone());
        all.spawn(async move {
            while Instant::now() < until {
                if ask_for_ever(&reader, &toll).await.is_err() {
                    toll.cut.fetch_add(1, Ordering::Relaxed);
                }
                sleep(PAUSE).await;
            }
        });
    }
    let _ = tokio::time::timeout_at(until, all.join_all()).await;
    toll
}

/// Ends with the error that the server's hanging up is.
async fn ask_for_ever(reader: &Reader, toll: &Toll) -> anyhow::Result<()> {
    let mut stream = timeout(Duration::from_secs(10), reader.stream()).await??;
    toll.connected.fetch_add(1, Ordering::Relaxed);
    let token = reader.token.as_deref().unwrap_or_default();
    let request =
        format!("GET /api/v1/pods HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    loop {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
    }
}
