//! What the node computes with: `/proc/cpuinfo`, and `/sys/devices/system/cpu` (`Documentation/admin-guide/pm/cpufreq.rst`).
//!
//! ```text
//! processor    : 0
//! vendor_id    : GenuineIntel
//! physical id  : 0
//! core id      : 0
//! cpu MHz      : 2699.998
//! ```
//! ARM has neither a vendor nor those ids. The frequency there is the present one: it stands for the highest where
//! nothing changes it, as in a virtual machine, which has no `cpufreq`.

use std::collections::BTreeSet;

use super::{HostError, HostRoot, read as files, text};
use crate::model::machine::Processors;

/// Reads them.
///
/// # Errors
/// If the file cannot be read.
pub fn read(root: &HostRoot) -> Result<Processors, HostError> {
    let path = root.proc.join("cpuinfo");
    let mut buffer = Vec::new();
    files::read_path(&path, &mut buffer).map_err(|errno| HostError::from_io(&path, errno.into()))?;
    let mut processors = parse(&buffer);
    let highest = root.sys.join("devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
    if files::read_path(&highest, &mut buffer).is_ok() {
        processors.kilohertz = text::parse_single_u64(&buffer).or(processors.kilohertz);
    }
    Ok(processors)
}

fn parse(file: &[u8]) -> Processors {
    let (mut vendor, mut kilohertz) = (None, None);
    let (mut sockets, mut cores) = (BTreeSet::new(), BTreeSet::new());
    let mut socket = None;
    for line in text::lines(file) {
        let Some((key, value)) = text::split_once(line, b':') else { continue };
        let value = value.trim_ascii();
        match key.trim_ascii() {
            b"processor" => socket = None,
            b"vendor_id" if vendor.is_none() => vendor = Some(String::from_utf8_lossy(value).into_owned()),
            b"cpu MHz" if kilohertz.is_none() => kilohertz = parse_megahertz(value),
            b"physical id" => {
                socket = text::parse_u32(value);
                sockets.extend(socket);
            }
            b"core id" => cores.extend(socket.zip(text::parse_u32(value))),
            _ => {}
        }
    }
    let some = |count: usize| (count > 0).then_some(count);
    Processors { vendor, cores: some(cores.len()), sockets: some(sockets.len()), kilohertz }
}

/// `2699.998`, in kHz.
fn parse_megahertz(value: &[u8]) -> Option<u64> {
    let (whole, part) = text::split_once(value, b'.')?;
    let part = if part.len() == 3 { text::parse_u64(part)? } else { return None };
    text::parse_u64(whole)?.checked_mul(1000)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processor(number: u32, socket: u32, core: u32) -> String {
        format!(
            "processor\t: {number}\nvendor_id\t: GenuineIntel\ncpu MHz\t\t: 2699.998\nphysical id\t: {socket}\ncore id\t\t: {core}\n\n"
        )
    }

    #[test]
    fn threads_of_a_core_are_one_core_and_the_same_core_of_two_sockets_two() {
        let file: String =
            [(0, 0, 0), (1, 0, 0), (2, 0, 1), (3, 1, 0)].map(|(n, s, c)| processor(n, s, c)).concat();
        let vendor = Some("GenuineIntel".to_owned());
        assert_eq!(
            parse(file.as_bytes()),
            Processors { vendor, cores: Some(3), sockets: Some(2), kilohertz: Some(2_699_998) }
        );
        for end in 0..file.len() {
            let _ = parse(&file.as_bytes()[..end]);
        }
    }

    #[test]
    fn the_highest_frequency_counts_where_it_is_told() {
        let sys = crate::host::fixture::Node::v2();
        sys.write("proc/cpuinfo", &processor(0, 0, 0));
        assert_eq!(read(&sys.root()).unwrap().kilohertz, Some(2_699_998));
        sys.write("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "3900000\n");
        assert_eq!(read(&sys.root()).unwrap().kilohertz, Some(3_900_000));
    }

    #[test]
    fn what_arm_does_not_tell_is_not_known() {
        let file = b"processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        assert_eq!(parse(file), Processors::default());
    }
}
