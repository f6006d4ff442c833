//! Pieces of a stream made into whole lines, wherever the network cut it (pure).

use bytes::Bytes;

/// No event is longer: etcd takes no object above some megabytes.
pub(super) const LONGEST_LINE: usize = 64 << 20;

/// The beginning of a line whose end has not come yet.
#[derive(Debug, Default)]
pub(super) struct Rest(pub(super) Vec<u8>);

impl Rest {
    /// The lines that `piece` completes, without their last line feed; `None` if it completes none.
    pub(super) fn take(&mut self, piece: &[u8]) -> Option<Bytes> {
        let Some(end) = piece.iter().rposition(|byte| *byte == b'\n') else {
            self.0.extend_from_slice(piece);
            return None;
        };
        let mut lines = std::mem::take(&mut self.0);
        lines.extend_from_slice(&piece[..end]);
        self.0.extend_from_slice(&piece[end + 1..]);
        Some(lines.into())
    }

    /// No line could be so long.
    pub(super) fn is_too_long(&self) -> bool {
        self.0.len() > LONGEST_LINE
    }

    /// Nothing has begun.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_wherever_the_stream_is_cut() {
        let text = b"one\ntwo\n\nthree\nfou";
        for size in 1..=text.len() {
            let mut rest = Rest::default();
            let taken: Vec<_> = text.chunks(size).filter_map(|piece| rest.take(piece)).collect();
            let lines: Vec<_> = taken.iter().flat_map(|lines| lines.split(|byte| *byte == b'\n')).collect();
            assert_eq!(lines, [&b"one"[..], b"two", b"", b"three"], "pieces of {size}");
            assert_eq!((rest.0.as_slice(), rest.is_empty(), rest.is_too_long()), (&b"fou"[..], false, false));
        }
    }
}
