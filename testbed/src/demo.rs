//! The demonstration: pods with something to see in every column, podvitals beside them, and its
//! table on the screen.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use podvitals_testbed::{Pod, Testbed};

/// Name of the testbed.
pub(crate) const NAME: &str = "demo";

const PORT: u16 = 9790;
const READY_PATIENCE: Duration = Duration::from_secs(30);

/// The container that ends every ten seconds.
const FLAKY: &str = "worker";

/// What `DURATION` says: seconds, or for ever when it is not set.
pub(crate) fn duration() -> Result<Option<Duration>> {
    match std::env::var("DURATION") {
        Ok(text) if !text.is_empty() => {
            let seconds = text
                .parse()
                .ok()
                .with_context(|| format!("DURATION={text}: expected a number of seconds"))?;
            Ok(Some(Duration::from_secs(seconds)))
        }
        _ => Ok(None),
    }
}

/// The pods, until somebody stops us.
pub(crate) async fn up() -> Result<()> {
    let testbed = start().await?;
    let pods = start_pods(&testbed).await?;
    eprintln!("==> {} pods run; CRI endpoint: unix://{}", pods.len(), testbed.cri_socket().display());
    eprintln!("    Ctrl-C takes them down");
    restart_for_ever(&pods).await
}

/// The pods and podvitals with its table, for that long.
pub(crate) async fn run(podvitals: &Path, duration: Option<Duration>) -> Result<()> {
    let testbed = start().await?;
    let pods = start_pods(&testbed).await?;
    let log = testbed.scratch().join("podvitals.log");
    eprintln!("==> starting podvitals");
    let mut daemon = start_daemon(&testbed, podvitals, &log)?;
    let port = wait_until_ready(&mut daemon, &log).await?;
    eprintln!("==> podvitals answers on port {port}");
    print_invitation(podvitals, port, duration);
    let mut table = testbed.spawn(
        Command::new(podvitals)
            .args(["get", "pods", "-A", "-w", "--server"])
            .arg(url(port))
            .stdin(Stdio::null()),
    )?;
    tokio::select! {
        result = restart_for_ever(&pods) => result,
        result = watch(&mut daemon, &mut table, &log) => result,
        () = sleep(duration.unwrap_or(Duration::MAX)) => Ok(()),
    }
}

async fn start() -> Result<Testbed> {
    Testbed::start_telling(NAME, |step| eprintln!("==> {step}")).await
}

async fn start_pods(testbed: &Testbed) -> Result<Vec<Pod>> {
    eprintln!("==> starting pods");
    let burner = testbed.pod("burner").namespace("shop").burstable().run().await?;
    burner.container("app").args(["spin", "--duty", "37"]).run().await?;

    let throttled = testbed.pod("throttled").namespace("shop").burstable().run().await?;
    throttled.container("app").args(["spin"]).cpu_limit_millis(200).memory_limit(64 << 20).run().await?;

    let receiver = testbed.pod("receiver").namespace("net").run().await?;
    receiver.container("server").args(["serve-bytes", "--port", "5001"]).run().await?;
    let address = receiver.ip().context("the receiver has no address")?.to_string();

    let sender = testbed.pod("sender").namespace("net").run().await?;
    let send = ["send", &address, "5001", "--bytes", "5M", "--receive", "1M", "--every", "500"];
    sender.container("client").args(send).run().await?;

    let writer = testbed.pod("writer").namespace("data").guaranteed().run().await?;
    let disk = Disk::make(testbed)?;
    disk.count_on_v1(&writer)?;
    let write = ["write-direct", "/data/blocks", "4MiB", "--every", "1000"];
    writer.container("disk").args(write).mount(&disk.folder, "/data").run().await?;
    writer.container("cache").args(["memory", "--anon", "50MiB"]).run().await?;

    let flaky = testbed.pod("flaky").namespace("shop").run().await?;
    flaky.container(FLAKY).args(["spin", "--duty", "5", "--seconds", "10"]).run().await?;

    let host = testbed.pod("host-network").namespace("kube-system").host_network(true).run().await?;
    host.container("agent").run().await?;

    let idle = testbed.pod("idle").run().await?;
    idle.container("app").run().await?;
    Ok(vec![burner, throttled, receiver, sender, writer, flaky, host, idle])
}

/// A disk of our own, a file behind a loop device: the machine's own disks are left as they are.
struct Disk {
    device: String,
    folder: PathBuf,
}

impl Disk {
    /// In the testbed's folder: with it, the mount and the loop device go.
    fn make(testbed: &Testbed) -> Result<Self> {
        let image = testbed.scratch().join("disk.img");
        let folder = testbed.scratch().join("disk");
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        File::create(&image)
            .and_then(|file| file.set_len(64 << 20))
            .with_context(|| image.display().to_string())?;
        tool(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        let device = tool(Command::new("losetup").args(["--find", "--show"]).arg(&image))?;
        tool(Command::new("mount").arg(&device).arg(&folder))?;
        Ok(Self { device, folder })
    }

    /// cgroup v1 counts a disk's I/O only after a limit was set on it; this one limits nothing.
    fn count_on_v1(&self, pod: &Pod) -> Result<()> {
        let rules = pod.cgroup_dir("blkio")?.join("blkio.throttle.write_bps_device");
        if !rules.exists() {
            return Ok(());
        }
        let number = std::fs::metadata(&self.device).with_context(|| self.device.clone())?.rdev();
        let rule = format!("{}:{} {}", rustix::fs::major(number), rustix::fs::minor(number), 1u64 << 40);
        std::fs::write(&rules, rule).with_context(|| rules.display().to_string())
    }
}

/// Runs a tool to its end and returns what it printed.
fn tool(command: &mut Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let output = command.output().with_context(|| name.clone())?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// The kubelet's part: a container that has ended is started again.
async fn restart_for_ever(pods: &[Pod]) -> Result<()> {
    loop {
        for pod in pods {
            let Some(container) = pod.live_container(FLAKY) else { continue };
            if container.exit_code().await?.is_some() {
                pod.restart_container(FLAKY).await?;
            }
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// On our usual port, or on any that is free when something listens there already.
fn start_daemon(testbed: &Testbed, podvitals: &Path, log: &Path) -> Result<Child> {
    let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).is_ok();
    let port = if is_free { PORT } else { 0 };
    let out = File::create(log).with_context(|| log.display().to_string())?;
    testbed.spawn(
        Command::new(podvitals)
            .arg("serve")
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--cri-endpoint", &format!("unix://{}", testbed.cri_socket().display())])
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out),
    )
}

/// The port on which it answers, once it is ready.
async fn wait_until_ready(daemon: &mut Child, log: &Path) -> Result<u16> {
    let deadline = Instant::now() + READY_PATIENCE;
    loop {
        let port = port_in(&read_log(log));
        if let Some(port) = port
            && is_ready(port).await
        {
            return Ok(port);
        }
        if let Some(status) = daemon.try_wait()? {
            bail!("podvitals ended: {status}\n{}", read_log(log));
        }
        if Instant::now() >= deadline {
            bail!("podvitals is not ready after {} s\n{}", READY_PATIENCE.as_secs(), read_log(log));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Where it listens, as it says itself: `address=http://127.0.0.1:9790`.
fn port_in(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("address=http://127.0.0.1:")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

async fn is_ready(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        std::io::Result::Ok(status.ends_with(b" 200"))
    };
    matches!(timeout(Duration::from_secs(2), ask).await, Ok(Ok(true)))
}

fn print_invitation(podvitals: &Path, port: u16, duration: Option<Duration>) {
    let (url, podvitals) = (url(port), podvitals.display());
    let end = match duration {
        Some(duration) => format!("It ends by itself after {} s.", duration.as_secs()),
        None => "Ctrl-C ends it and removes everything.".to_owned(),
    };
    println!(
        "
podvitals answers at {url}. {end} In another terminal:

  curl -s '{url}/api/v1/pods?fields=name,cpu.cores,network.rxBytesPerSecond'
  curl -s {url}/api/v1/pods/shop/burner
  curl -s {url}/metrics
  {podvitals} explain net/sender --server {url}
"
    );
}

/// Neither the daemon nor the table ends while we run, unless something is wrong.
async fn watch(daemon: &mut Child, table: &mut Child, log: &Path) -> Result<()> {
    loop {
        if let Some(status) = daemon.try_wait()? {
            bail!("podvitals serve ended: {status}\n{}", read_log(log));
        }
        if let Some(status) = table.try_wait()? {
            bail!("podvitals get ended: {status}\n{}", read_log(log));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

fn read_log(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_else(|error| error.to_string())
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
