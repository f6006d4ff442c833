//! A bounded memory: when it is full, what was not used for the longest time is forgotten.

use std::collections::HashMap;

/// A keyed hash of what is remembered about: no token is kept, and nobody outside can choose where
/// his entry lies.
pub(super) type Key = [u8; 32];

/// The memory.
#[derive(Debug)]
pub(super) struct Memory<V> {
    most: usize,
    entries: HashMap<Key, (u64, V)>,
    uses: u64,
}

impl<V> Memory<V> {
    /// Of at most so many entries.
    pub(super) fn new(most: usize) -> Self {
        Self { most, entries: HashMap::new(), uses: 0 }
    }

    pub(super) fn get(&mut self, key: &Key) -> Option<&mut V> {
        self.uses += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(value)
    }

    pub(super) fn put(&mut self, key: Key, value: V) {
        if self.entries.len() >= self.most && !self.entries.contains_key(&key) {
            // A walk over a few hundred entries, after a question to the API server: nobody notices.
            let oldest = self.entries.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key);
            oldest.and_then(|key| self.entries.remove(&key));
        }
        self.uses += 1;
        self.entries.insert(key, (self.uses, value));
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.entries.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_memory_forgets_what_was_not_used_for_longest() {
        let mut memory = Memory::new(3);
        for n in 1..=3 {
            memory.put([n; 32], n);
        }
        assert_eq!(memory.get(&[1; 32]), Some(&mut 1));
        memory.put([4; 32], 4);
        assert_eq!(memory.get(&[2; 32]), None, "the only one not used since");
        memory.put([3; 32], 30);
        assert_eq!(memory.get(&[1; 32]), Some(&mut 1), "what is there already displaces nobody");
        assert_eq!(memory.get(&[3; 32]), Some(&mut 30));
        memory.remove(&[3; 32]);
        assert_eq!(memory.get(&[3; 32]), None);
        for n in 0..100 {
            memory.put([n; 32], n);
        }
        assert_eq!(memory.entries.len(), 3);
    }
}
