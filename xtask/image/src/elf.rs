//! elf(5): a dynamically linked program has a program header of type `PT_INTERP`.

const PT_INTERP: u32 = 3;

/// Whether a program needs a loader; `None` when this is no 64-bit little-endian ELF file.
pub(super) fn asks_for_loader(elf: &[u8]) -> Option<bool> {
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let mut at = usize::try_from(u64::from_le_bytes(elf.get(32..40)?.try_into().ok()?)).ok()?;
    let size = u16::from_le_bytes(elf.get(54..56)?.try_into().ok()?);
    let count = u16::from_le_bytes(elf.get(56..58)?.try_into().ok()?);
    for _ in 0..count {
        let kind = u32::from_le_bytes(elf.get(at..at.checked_add(4)?)?.try_into().ok()?);
        if kind == PT_INTERP {
            return Some(true);
        }
        at = at.checked_add(usize::from(size))?;
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_told_from_a_static_one_and_from_no_program() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(asks_for_loader(&own), Some(true));
        assert_eq!(asks_for_loader(b"#!/bin/sh\n"), None);
        for end in 0..4096 {
            assert_ne!(asks_for_loader(&own[..end.min(64)]), Some(false));
        }
    }
}
