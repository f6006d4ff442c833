//! The two forms in which an image travels: an OCI image layout in a tar file, and what `docker save`
//! writes. Both are taken by `ctr images import` and `docker load`.

use std::io::Write;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};

use crate::digest;
use crate::tar::{self, Entry};

/// An OCI image layout of one image: its name with tag, the layer, and the `config` of its
/// configuration. Its labels are annotations of the manifest as well.
///
/// # Errors
/// None in memory.
pub fn oci_archive(name: &str, layer: &[u8], config: &Value, created: &str) -> Result<Vec<u8>> {
    let described = document(layer, config, created).to_string().into_bytes();
    let packed = gzip(layer)?;
    let annotations = config.get("Labels").cloned().unwrap_or_else(|| json!({}));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &described),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &packed)],
        "annotations": annotations,
    })
    .to_string()
    .into_bytes();
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    // containerd and Docker read the first, everybody else the second.
    entry["annotations"] =
        json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag });
    entry["platform"] = json!({ "architecture": architecture(), "os": "linux" });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    });
    let mut files = vec![
        ("oci-layout".to_owned(), json!({ "imageLayoutVersion": "1.0.0" }).to_string().into_bytes()),
        ("index.json".to_owned(), index.to_string().into_bytes()),
    ];
    let mut blobs: Vec<_> =
        [manifest, described, packed].into_iter().map(|blob| (path(&blob), blob)).collect();
    blobs.sort();
    files.extend(blobs);
    let mut out = Vec::new();
    for folder in ["blobs/", "blobs/sha256/"] {
        tar::append(&mut out, folder, &Entry::Folder(0o755), 0)?;
    }
    for (name, bytes) in &files {
        tar::append(&mut out, name, &Entry::File(bytes, 0o644), 0)?;
    }
    tar::finish(&mut out)?;
    Ok(out)
}

/// What `docker save` writes for images that share a layer, each with its name and the `config` of its
/// configuration.
///
/// # Errors
/// None in memory.
pub fn docker_archive(images: &[(&str, Value)], layer: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut manifest = Vec::new();
    for (at, (name, config)) in images.iter().enumerate() {
        let file = format!("{at}.json");
        let document = document(layer, config, "1970-01-01T00:00:00Z").to_string().into_bytes();
        tar::append(&mut out, &file, &Entry::File(&document, 0o644), 0)?;
        manifest.push(json!({ "Config": file, "RepoTags": [name], "Layers": ["layer.tar"] }));
    }
    tar::append(&mut out, "layer.tar", &Entry::File(layer, 0o644), 0)?;
    tar::append(&mut out, "manifest.json", &Entry::File(&serde_json::to_vec(&manifest)?, 0o644), 0)?;
    tar::finish(&mut out)?;
    Ok(out)
}

/// image-spec `config.md`: `architecture` in Go's spelling, `diff_ids` of the uncompressed layers.
fn document(layer: &[u8], config: &Value, created: &str) -> Value {
    json!({
        "architecture": architecture(),
        "os": "linux",
        "created": created,
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [digest(layer)] },
        "history": [{ "created": created, "created_by": "podvitals" }],
    })
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(blob), "size": blob.len() })
}

fn path(blob: &[u8]) -> String {
    format!("blobs/{}", digest(blob).replace(':', "/"))
}

/// Without a name and a time in it, which would be other bytes each time.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut out = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    out.write_all(bytes)?;
    Ok(out.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::Layer;

    fn image() -> Vec<u8> {
        let layer = Layer::new(0).file("hello", b"hello\n").unwrap().folder("tmp").unwrap().finish().unwrap();
        let config = json!({ "Entrypoint": ["/hello"], "Labels": { "a": "b" } });
        oci_archive("example.com/hello:1", &layer, &config, "1970-01-01T00:00:00Z").unwrap()
    }

    /// One file out of an archive, as GNU tar reads it.
    fn extract(archive: &[u8], name: &str) -> Vec<u8> {
        let mut tar = Command::new("tar")
            .args(["--extract", "--to-stdout", "--file", "-", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = tar.stdin.take().unwrap();
        let archive = archive.to_vec();
        let feeder = std::thread::spawn(move || stdin.write_all(&archive));
        let output = tar.wait_with_output().unwrap();
        assert!(output.status.success(), "{name}");
        feeder.join().unwrap().unwrap();
        output.stdout
    }

    fn blob(archive: &[u8], descriptor: &Value) -> Vec<u8> {
        let name = descriptor["digest"].as_str().unwrap();
        let bytes = extract(archive, &format!("blobs/{}", name.replace(':', "/")));
        assert_eq!(digest(&bytes), name);
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    }

    #[test]
    fn every_descriptor_leads_to_a_blob_of_its_digest_down_to_the_layer() {
        let archive = image();
        let index: Value = serde_json::from_slice(&extract(&archive, "index.json")).unwrap();
        let entry = &index["manifests"][0];
        assert_eq!(entry["annotations"]["io.containerd.image.name"], "example.com/hello:1");
        assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "1");
        let manifest: Value = serde_json::from_slice(&blob(&archive, entry)).unwrap();
        assert_eq!(manifest["annotations"]["a"], "b");
        let config: Value = serde_json::from_slice(&blob(&archive, &manifest["config"])).unwrap();
        assert_eq!(config["config"]["Entrypoint"][0], "/hello");
        let mut layer = Vec::new();
        let packed = blob(&archive, &manifest["layers"][0]);
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut layer).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer));
        assert_eq!(extract(&layer, "hello"), b"hello\n");
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        assert_eq!(digest(&image()), digest(&image()));
    }

    #[test]
    fn gzip_says_neither_name_nor_time() {
        let packed = gzip(b"x").unwrap();
        // RFC 1952: flags, then four bytes of time.
        assert_eq!(packed[3..8], [0; 5]);
    }

    #[test]
    fn images_of_docker_share_the_layer() {
        let layer = Layer::new(0).finish().unwrap();
        let images = [("localhost/a:1", json!({})), ("localhost/b:1", json!({}))];
        let archive = docker_archive(&images, &layer).unwrap();
        let manifest: Value = serde_json::from_slice(&extract(&archive, "manifest.json")).unwrap();
        assert_eq!(manifest[1]["RepoTags"][0], "localhost/b:1");
        assert_eq!(manifest[1]["Layers"][0], "layer.tar");
        assert_eq!(extract(&archive, "layer.tar"), layer);
    }
}
