//! Signals that no step has waited for yet.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::data::Data;

/// A signal that came before its wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptSignal {
    #[serde(rename = "n")]
    pub name: String,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    #[serde(rename = "d", default, skip_serializing_if = "Data::is_null")]
    pub payload: Data,
}

impl KeptSignal {
    /// Of its name, its key and its value.
    pub fn bytes(&self) -> usize {
        self.name.len() + self.correlation.as_ref().map_or(0, String::len) + self.payload.len()
    }
}

/// By the sequence of the event that brought them; stored as that map, and counted as it changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct KeptSignals {
    signals: BTreeMap<u64, KeptSignal>,
    /// Of all of them. It follows from them, so it is stored nowhere.
    bytes: usize,
}

impl KeptSignals {
    pub(super) fn insert(&mut self, sequence: u64, signal: KeptSignal) {
        self.bytes += signal.bytes();
        if let Some(replaced) = self.signals.insert(sequence, signal) {
            self.bytes -= replaced.bytes();
        }
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<KeptSignal> {
        let removed = self.signals.remove(&sequence)?;
        self.bytes -= removed.bytes();
        Some(removed)
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&KeptSignal> {
        self.signals.get(&sequence)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &KeptSignal)> {
        self.signals.iter().map(|(sequence, signal)| (*sequence, signal))
    }

    pub(super) fn len(&self) -> usize {
        self.signals.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.signals.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Serialize for KeptSignals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.signals.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for KeptSignals {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let signals = BTreeMap::<u64, KeptSignal>::deserialize(deserializer)?;
        let bytes = signals.values().map(KeptSignal::bytes).sum();
        Ok(KeptSignals { signals, bytes })
    }
}
