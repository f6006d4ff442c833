//! The node's file systems, the same in every format, each with the time at which they were asked.

use podvitals::model::unavailable::Unavailable;
use podvitals::serve::Limits;
use serde_json::json;

use super::client::{clock, server, server_with};
use super::node;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

#[tokio::test]
async fn each_format_has_the_file_system_that_its_readers_mean() {
    let server = server().await;
    let own = server.get("/api/v1/node").await.json();
    let [disk, images] = &own["fileSystems"].as_array().unwrap()[..] else { panic!("{own}") };
    assert_eq!(
        (&disk["device"], &disk["mountPoint"], &disk["type"]),
        (&json!("/dev/vda1"), &json!("/"), &json!("ext4"))
    );
    assert_eq!(disk["holds"], json!(["root", "kubelet", "containers"]));
    assert_eq!(
        (images["holds"].clone(), images.get("inodes"), images.get("mountPoint")),
        (json!(["images"]), None, None)
    );
    assert_eq!(
        (disk["capacityBytes"].as_u64(), disk["usedBytes"].as_u64()),
        (Some(100 * GIB), Some(100 * 274 * MIB))
    );

    let summary = server.get("/stats/summary").await.json();
    let (fs, runtime) = (&summary["node"]["fs"], &summary["node"]["runtime"]);
    for (theirs, ours) in [
        ("capacityBytes", "capacityBytes"),
        ("availableBytes", "availableBytes"),
        ("usedBytes", "usedBytes"),
        ("inodes", "inodes"),
        ("inodesFree", "inodesFree"),
        ("timeUnixNano", "timeUnixNano"),
    ] {
        assert_eq!(fs[theirs], disk[ours], "{theirs}");
    }
    assert_eq!(fs["inodesUsed"], 453_600);
    assert_eq!(runtime["containerFs"]["capacityBytes"], disk["capacityBytes"]);
    assert_eq!(runtime["imageFs"]["availableBytes"], images["availableBytes"]);
    for part in ["imageFs", "containerFs"] {
        assert_eq!((runtime[part].get("usedBytes"), runtime[part].get("inodesUsed")), (None, None), "{part}");
    }
    let few = server.get("/stats/summary?only_cpu_and_memory=true").await.json();
    assert_eq!((few["node"].get("fs"), few["node"].get("runtime")), (None, None));

    let storage = server.get("/api/v2.0/storage").await.json();
    assert_eq!(storage[0]["usage"], disk["usedBytes"]);
    assert_eq!(
        (storage[0]["labels"].clone(), storage[0]["mountpoint"].clone()),
        (disk["holds"].clone(), json!("/"))
    );
    for (query, devices) in
        [("label=root", vec!["/dev/vda1"]), ("label=images", vec!["/dev/vdb"]), ("label=none", vec![])]
    {
        let list = server.get(&format!("/api/v2.0/storage?{query}")).await.json();
        let found: Vec<&str> =
            list.as_array().unwrap().iter().map(|it| it["device"].as_str().unwrap()).collect();
        assert_eq!(found, devices, "{query}");
    }
    assert_eq!(server.get("/api/v2.0/storage?uuid=0a1b").await.status, 500);
    let machine = server.get("/api/v1.3/machine").await.json();
    assert_eq!(
        machine["filesystems"][0],
        json!({ "device": "/dev/vda1", "capacity": 100 * GIB, "type": "vfs", "inodes": 6_553_600, "has_inodes": true })
    );
    assert_eq!(machine["filesystems"][1]["has_inodes"], json!(false));
    let node = server.get("/api/v2.1/machinestats").await.json();
    assert_eq!(
        node.as_array().unwrap().last().unwrap()["filesystem"][0]["available"],
        disk["availableBytes"]
    );

    let series = server.get("/metrics/cadvisor").await;
    let lines: Vec<&str> =
        series.text().lines().filter(|line| line.starts_with("container_fs_limit_bytes{")).collect();
    let [whole, _] = lines[..] else { panic!("{lines:?}") };
    assert!(whole.contains(r#"device="/dev/vda1",id="/""#) && whole.ends_with("107374182400"), "{whole}");
    assert_eq!(series.text().lines().filter(|line| line.starts_with("container_fs_inodes_free{")).count(), 1);

    let model = "/api/v1/model/nodes/n1/metrics/filesystem/available";
    for (query, is_there) in
        [("", true), ("?labels=resource_id:/", true), ("?labels=resource_id:254:0", false)]
    {
        let points = server.get(&format!("{model}{query}")).await.json();
        let expected = if is_there { disk["availableBytes"].clone() } else { json!(null) };
        assert_eq!(points["metrics"][0]["value"], expected, "{query}");
    }
}

#[tokio::test]
async fn without_them_nothing_is_said_but_why() {
    let mut shown = node::snapshot();
    shown.node.file_systems = Err(Unavailable::Permission);
    let server = server_with(Limits::default(), clock::<0>, Some(shown)).await;
    let own = server.get("/api/v1/node").await.json();
    assert_eq!((own.get("fileSystems"), &own["unavailable"]["fileSystems"]), (None, &json!("permission")));
    let node = server.get("/stats/summary").await.json()["node"].clone();
    assert_eq!((node.get("fs"), node.get("runtime")), (None, None));
    assert_eq!(server.get("/api/v2.0/storage").await.json(), json!([]));
    assert_eq!(server.get("/api/v1.3/machine").await.json().get("filesystems"), None);
    assert!(!server.get("/metrics/cadvisor").await.text().contains("container_fs_limit_bytes{"));
    let points = server.get("/api/v1/model/nodes/n1/metrics/filesystem/usage").await.json();
    assert_eq!(points["metrics"], json!([]));
}
