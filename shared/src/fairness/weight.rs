//! How much one gets in proportion to others.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

/// Largest weight: beyond this, one is served and the other hardly ever.
pub const MAX_WEIGHT: u32 = 1000;

/// What somebody gets in proportion to others, from 1 to [`MAX_WEIGHT`]; 1 unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Weight(u32);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a weight is a whole number from 1 to {MAX_WEIGHT}, not {0}")]
pub struct WeightError(String);

impl Weight {
    pub const ONE: Weight = Weight(1);

    /// # Errors
    /// Outside of 1 to [`MAX_WEIGHT`].
    pub fn new(weight: u32) -> Result<Self, WeightError> {
        match weight {
            1..=MAX_WEIGHT => Ok(Weight(weight)),
            _ => Err(WeightError(weight.to_string())),
        }
    }

    pub const fn get(self) -> u32 {
        self.0
    }

    pub const fn is_one(&self) -> bool {
        self.0 == 1
    }
}

impl Default for Weight {
    fn default() -> Self {
        Weight::ONE
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Weight {
    type Err = WeightError;

    fn from_str(text: &str) -> Result<Self, WeightError> {
        let wrong = || WeightError(format!("`{}`", text.chars().take(20).collect::<String>()));
        text.parse().map_err(|_| wrong()).and_then(Weight::new)
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Weight::new(u32::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
