//! Which modules of an unpacked kernel package a guest loads, and in what order. The package comes
//! without `modules.dep`, which is made where it is installed: each module says itself what it needs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Disks, their stacks, and links of every kind.
const WANTED: [&str; 10] =
    ["virtio_pci", "virtio_blk", "loop", "dm-mod", "veth", "bridge", "8021q", "macvlan", "ipvlan", "dummy"];

/// The files of the modules a guest needs, each after those it rests on.
pub(super) fn in_order(kernel: &Path) -> Result<Vec<PathBuf>> {
    let mut files = BTreeMap::new();
    collect(&kernel.join("lib/modules"), &mut files)?;
    let mut order = Vec::new();
    for name in WANTED {
        add(name, &files, &mut order)?;
    }
    Ok(order)
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, order: &mut Vec<PathBuf>) -> Result<()> {
    let file = files.get(&spelt(name)).with_context(|| format!("the kernel has no module {name}"))?;
    if order.contains(file) {
        return Ok(());
    }
    let module = fs::read(file).with_context(|| file.display().to_string())?;
    for needed in needs(&module) {
        add(&needed, files, order)?;
    }
    order.push(file.clone());
    Ok(())
}

/// `depends=virtio,virtio_ring` of the section `.modinfo`, which is text between zeros.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let list = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let list = String::from_utf8_lossy(list).into_owned();
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A module's name has underscores where its file may have dashes.
fn spelt(name: &str) -> String {
    name.replace('-', "_")
}

fn collect(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ko")) {
            files.insert(spelt(name), path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_needs() {
        assert_eq!(needs(b"\x7fELF\0license=GPL\0depends=stp,llc\0name=bridge\0"), ["stp", "llc"]);
        assert_eq!(needs(b"\0depends=\0"), Vec::<String>::new());
        assert_eq!(needs(b"nothing"), Vec::<String>::new());
    }
}
