//! What everybody asks for: documents of one sweep, the memory that the next are written on, and how much of both
//! is kept.
//!
//! # Why there is a bound
//! A document is kept for who asks for it next in the same sweep. All that are served, in all their forms, have
//! 18 MiB on a node of 110 pods and 80 on one of 500; nobody reads them all. Beyond [`KEPT_BYTES`] those go that
//! were not asked for the longest, unless they are still being sent: to forget those frees nothing. Whoever asks
//! for one that went has it rendered again; that time it stays, so that no question costs a third rendering.

use std::sync::{Arc, OnceLock};

use super::exposition::Form;
use super::paper::Paper;
use super::reply::{JSON, PROMETHEUS, Rendered};
use super::sheets::{Pieces, Sheets};

/// What is kept, besides one document that alone is larger.
pub(super) const KEPT_BYTES: usize = 12 << 20;

/// What everybody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Common {
    /// `/api/v1/pods`.
    Pods,
    /// `/api/v1/containers`.
    Containers,
    /// `/api/v1/node`.
    Node,
    /// `/api/v1/map`.
    Map,
    /// `/metrics/resource`.
    Resource,
    /// `/metrics/cadvisor`, in each form.
    CadvisorText,
    /// The same.
    CadvisorOpenMetrics,
    /// The same.
    CadvisorProtobuf,
    /// `/metrics/pods`, in each form.
    SeriesText,
    /// The same.
    SeriesOpenMetrics,
    /// The same.
    SeriesProtobuf,
    /// `/stats/summary`.
    Summary,
    /// `/stats/summary?only_cpu_and_memory=true`.
    CpuAndMemorySummary,
    /// `/pods`.
    KubeletPods,
    /// `/api/v1/metric-export`.
    HeapsterExport,
}

impl Common {
    const COUNT: usize = 15;

    /// Those with a hundred series for each container, which are written on the memory of the one before.
    const LARGE: [Self; 6] = [
        Self::CadvisorText,
        Self::CadvisorOpenMetrics,
        Self::CadvisorProtobuf,
        Self::SeriesText,
        Self::SeriesOpenMetrics,
        Self::SeriesProtobuf,
    ];

    /// What it is written in.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Pods
            | Self::Containers
            | Self::Node
            | Self::Map
            | Self::Summary
            | Self::CpuAndMemorySummary
            | Self::KubeletPods
            | Self::HeapsterExport => JSON,
            Self::Resource => PROMETHEUS,
            Self::CadvisorText | Self::SeriesText => Form::Text.media_type(),
            Self::CadvisorOpenMetrics | Self::SeriesOpenMetrics => Form::OpenMetrics.media_type(),
            Self::CadvisorProtobuf | Self::SeriesProtobuf => Form::Protobuf.media_type(),
        }
    }
}

/// Where the first who asks for a document leaves it for the others.
pub(super) type Place = Arc<OnceLock<Arc<Rendered>>>;

/// The documents of one sweep.
#[derive(Debug, Default)]
pub(super) struct Documents {
    slots: [Slot; Common::COUNT],
    questions: u64,
}

/// One kind of document.
#[derive(Debug, Default)]
struct Slot {
    place: Place,
    /// What the next is written on.
    paper: Paper,
    /// The number of the last question for it.
    asked: u64,
    /// Times it was rendered in this sweep.
    rendered: u32,
    /// Bytes of the last one, which the next will have.
    length: usize,
}

impl Documents {
    /// None is of this sweep any more. Of the large ones the next are written on their memory, if nobody reads it.
    pub(super) fn turn(&mut self) {
        for (at, slot) in self.slots.iter_mut().enumerate() {
            slot.rendered = 0;
            let written = slot.take();
            if Common::LARGE.iter().any(|large| *large as usize == at) {
                slot.paper = std::mem::take(&mut slot.paper).next(written);
            }
        }
    }

    /// Where `document` is, or will be.
    pub(super) fn place(&mut self, document: Common) -> Place {
        self.questions += 1;
        let slot = &mut self.slots[document as usize];
        slot.asked = self.questions;
        slot.place.clone()
    }

    /// Memory to write `document` on. Others make room for it.
    pub(super) fn memory_for(&mut self, document: Common) -> Sheets {
        let slot = &mut self.slots[document as usize];
        slot.rendered += 1;
        let memory = slot.paper.take();
        while self.bytes() > self.room() {
            let idle = self.slots.iter_mut().filter(|slot| slot.is_idle());
            let Some(oldest) = idle.min_by_key(|slot| slot.asked) else { break };
            oldest.give_up();
        }
        memory
    }

    /// What is kept now, and what those will have that are being written.
    fn bytes(&self) -> usize {
        self.slots.iter().map(Slot::bytes).sum()
    }

    /// What may be.
    fn room(&self) -> usize {
        let largest = self.slots.iter().map(Slot::bytes).max().unwrap_or(0);
        KEPT_BYTES + if largest > KEPT_BYTES { largest } else { 0 }
    }
}

impl Slot {
    fn bytes(&self) -> usize {
        let is_asked_for = Arc::strong_count(&self.place) > 1;
        let document = match self.place.get() {
            Some(rendered) => rendered.content.bytes(),
            None if is_asked_for => self.length,
            None => 0,
        };
        self.paper.bytes() + document
    }

    /// Whether there is something to give back: not what is being sent, nor what was asked for again once it had gone.
    fn is_idle(&self) -> bool {
        match self.place.get() {
            Some(rendered) => self.rendered < 2 && !rendered.content.is_read(),
            None => self.paper.bytes() > 0,
        }
    }

    /// The document, if nobody else asks for it any more.
    fn take(&mut self) -> Option<Pieces> {
        let place = std::mem::take(&mut self.place);
        self.length = place.get().map_or(self.length, |rendered| rendered.content.bytes());
        let rendered = Arc::into_inner(place)?.into_inner()?;
        Some(Arc::into_inner(rendered)?.content.into_plain())
    }

    /// Gives back the memory. Who is about to render leaves the document where others look for it.
    fn give_up(&mut self) {
        self.paper = Paper::default();
        if self.place.get().is_some() {
            drop(self.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Monotonic;
    use crate::serve::reply::{Content, Keep};
    use Common::{Containers, Node, Pods, SeriesText, Summary};

    const MEBI: usize = 1 << 20;

    /// Asks for a document of so many bytes. Whether it had to be written, and on how much memory.
    fn ask(documents: &mut Documents, document: Common, bytes: usize) -> Option<usize> {
        let place = documents.place(document);
        let mut written = None;
        place.get_or_init(|| {
            let mut memory = documents.memory_for(document);
            written = Some(memory.0[0].capacity());
            memory.0[0].resize(bytes, b'x');
            let content = Content::of(memory.into(), document.media_type(), Keep::Revalidate);
            Arc::new(Rendered { content, at: Monotonic::from_nanos(1) })
        });
        written
    }

    /// Whether it is still there.
    fn is_kept(documents: &Documents, document: Common) -> bool {
        documents.slots[document as usize].place.get().is_some()
    }

    #[test]
    fn those_that_were_not_asked_for_the_longest_make_room() {
        let mut documents = Documents::default();
        for document in [Pods, Containers, Summary] {
            assert_eq!(ask(&mut documents, document, 3 * MEBI), Some(0));
        }
        documents.turn();
        for document in [Pods, Containers, Pods, Summary, Pods] {
            ask(&mut documents, document, 3 * MEBI);
        }
        assert_eq!(documents.bytes(), 9 * MEBI);
        assert_eq!(ask(&mut documents, Node, 4 * MEBI), Some(0));
        // Of one that is new nobody knows how large it will be: the next finds that there is too much.
        assert_eq!(documents.bytes(), 13 * MEBI);
        assert_eq!(ask(&mut documents, SeriesText, MEBI), Some(0));
        let kept = [Pods, Containers, Summary, Node, SeriesText].map(|it| is_kept(&documents, it));
        assert_eq!(kept, [true, false, true, true, true]);
        assert_eq!(ask(&mut documents, Pods, 0), None, "what is kept is not written again");
        assert_eq!(ask(&mut documents, Containers, 3 * MEBI), Some(0), "what went is");
        assert_eq!(documents.bytes(), 11 * MEBI);
        assert!(!is_kept(&documents, Summary));
    }

    #[test]
    fn no_document_is_written_three_times_in_a_sweep() {
        let mut documents = Documents::default();
        let mut written = 0;
        for _ in 0..10 {
            for document in [Pods, Containers, Summary, Node, SeriesText] {
                written += usize::from(ask(&mut documents, document, 4 * MEBI).is_some());
            }
        }
        assert!((6..=10).contains(&written), "5 documents of 20 MiB, written {written} times");
        documents.turn();
        assert_eq!(ask(&mut documents, Pods, MEBI), Some(0), "each sweep by itself");
    }

    #[test]
    fn what_is_being_sent_or_written_is_left_alone() {
        let mut documents = Documents::default();
        ask(&mut documents, Pods, 8 * MEBI);
        let sent = documents.place(Pods).get().unwrap().content.plain();
        ask(&mut documents, Containers, 8 * MEBI);
        ask(&mut documents, Node, MEBI);
        assert_eq!([Pods, Containers, Node].map(|it| is_kept(&documents, it)), [true, false, true]);
        drop(sent);
        // Two of which it is known how large they are, written at the same time.
        let (summary, containers) = (documents.place(Summary), documents.place(Containers));
        assert_eq!(documents.bytes(), 17 * MEBI, "one counts before it is there");
        drop(documents.memory_for(Summary));
        assert!(!is_kept(&documents, Pods));
        assert!(Arc::ptr_eq(&containers, &documents.place(Containers)), "others find it where it will be");
        drop(summary);
    }

    #[test]
    fn one_that_is_larger_than_all_that_is_kept_is_kept_besides() {
        let mut documents = Documents::default();
        ask(&mut documents, SeriesText, 40 * MEBI);
        documents.turn();
        ask(&mut documents, Pods, MEBI);
        assert_eq!(documents.bytes(), 41 * MEBI, "the next is written on the memory of the last");
        assert_eq!(ask(&mut documents, SeriesText, 40 * MEBI), Some(40 * MEBI));
        assert_eq!(documents.bytes(), 41 * MEBI);
        assert_eq!(ask(&mut documents, SeriesText, 0), None);
    }

    #[test]
    fn only_large_documents_keep_their_memory() {
        let mut documents = Documents::default();
        for document in [Pods, SeriesText] {
            ask(&mut documents, document, MEBI);
        }
        documents.turn();
        assert_eq!(documents.bytes(), MEBI);
        assert_eq!(ask(&mut documents, Pods, MEBI), Some(0));
        assert_eq!(ask(&mut documents, SeriesText, MEBI), Some(MEBI));
        assert_eq!(documents.bytes(), 2 * MEBI);
    }

    #[test]
    fn what_a_reader_holds_is_left_to_it() {
        let mut documents = Documents::default();
        ask(&mut documents, SeriesText, MEBI);
        let reader = documents.place(SeriesText);
        documents.turn();
        assert_eq!(documents.bytes(), 0);
        assert_eq!(reader.get().unwrap().content.len(), MEBI);
    }
}
