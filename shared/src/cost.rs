//! Tokens and money: integers only. A micro-dollar is a millionth of a dollar; a thousand calls at 0.9 cents are nine
//! dollars, whatever the order in which they are added up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An amount in micro-dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(u64);

impl Money {
    pub const ZERO: Money = Money(0);

    pub const fn from_micros(micros: u64) -> Self {
        Money(micros)
    }

    pub const fn micros(self) -> u64 {
        self.0
    }

    pub const fn plus(self, other: Money) -> Money {
        Money(self.0.saturating_add(other.0))
    }

    pub const fn minus(self, other: Money) -> Money {
        Money(self.0.saturating_sub(other.0))
    }

    pub(crate) const fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

/// Why a text is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an amount is dollars such as 5, 5.00 or 0.000125: not negative, at most six decimals and nine digits before")]
pub struct NotMoney;

impl FromStr for Money {
    type Err = NotMoney;

    fn from_str(text: &str) -> Result<Self, NotMoney> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || whole.len() > 9 || part.len() > 6 {
            return Err(NotMoney);
        }
        let whole: u64 = whole.parse().map_err(|_| NotMoney)?;
        let micros: u64 = format!("{part:0<6}").parse().map_err(|_| NotMoney)?;
        Ok(Money(whole * 1_000_000 + micros))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let part = format!("{part:06}");
        let part = part.trim_end_matches('0');
        write!(f, "{whole}.{part:0<2}")
    }
}

/// Text at the edges, micro-dollars in storage.
impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_u64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Money)
        }
    }
}

/// What a model asks for, per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelPricing {
    pub input: Money,
    pub output: Money,
}

/// Names of models and what they cost: the first row whose name stands in the model's name, in lower case, counts.
/// Source: the presets of the original specification.
const PRICES: [(&str, ModelPricing); 11] = [
    ("gpt-4o-mini", price(150_000, 600_000)),
    ("gpt-4-1-mini", price(150_000, 600_000)),
    ("gpt-4o", price(2_500_000, 10_000_000)),
    ("gpt-4-turbo", price(10_000_000, 30_000_000)),
    ("gpt-4", price(30_000_000, 60_000_000)),
    ("opus", price(15_000_000, 75_000_000)),
    ("claude-3.5-sonnet", price(3_000_000, 15_000_000)),
    ("claude-3-5-sonnet", price(3_000_000, 15_000_000)),
    ("sonnet", price(3_000_000, 15_000_000)),
    ("claude-3-haiku", price(250_000, 1_250_000)),
    ("haiku", price(250_000, 1_250_000)),
];

const fn price(input: u64, output: u64) -> ModelPricing {
    ModelPricing { input: Money(input), output: Money(output) }
}

impl ModelPricing {
    /// What a model of this name asks for; one that nobody has heard of is dear.
    pub fn of(model: &str) -> Self {
        let model = model.to_ascii_lowercase();
        PRICES
            .iter()
            .find(|(name, _)| model.contains(name))
            .map_or(price(3_000_000, 15_000_000), |(_, pricing)| *pricing)
    }

    /// Rounded up to whole micro-dollars: nothing that was used is free.
    pub fn cost(&self, prompt_tokens: u64, completion_tokens: u64) -> Money {
        let of = |tokens: u64, price: Money| u128::from(tokens) * u128::from(price.0);
        let millionths = of(prompt_tokens, self.input) + of(completion_tokens, self.output);
        Money(u64::try_from(millionths.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_calls_at_nine_tenths_of_a_cent_are_nine_dollars() {
        let call: Money = "0.009".parse().unwrap();
        let total = (0..1000).fold(Money::ZERO, |sum, _| sum.plus(call));
        assert_eq!(total.to_string(), "9.00");
    }

    #[test]
    fn amounts_are_read_exactly_or_refused() {
        for (text, micros) in [("5", 5_000_000), ("5.00", 5_000_000), ("0.000001", 1), ("12.5", 12_500_000)] {
            assert_eq!(text.parse::<Money>().unwrap().micros(), micros, "{text}");
        }
        for text in ["", "-1", "1.", ".5", "1e3", "0.0000001", "1234567890", "1,5", "NaN", "5 "] {
            assert!(text.parse::<Money>().is_err(), "{text}");
        }
        for micros in [0, 1, 10, 1_500_000, 999_999_999_999_999] {
            assert_eq!(Money(micros).to_string().parse::<Money>().unwrap(), Money(micros));
        }
    }

    #[test]
    fn the_first_name_that_fits_counts_and_small_use_is_not_free() {
        assert_eq!(ModelPricing::of("openai/GPT-4o-mini-2024").input.to_string(), "0.15");
        assert_eq!(ModelPricing::of("gpt-4o").output.to_string(), "10.00");
        assert_eq!(ModelPricing::of("claude-3-opus").output.to_string(), "75.00");
        assert_eq!(ModelPricing::of("nobody-knows").input.to_string(), "3.00");
        assert_eq!(ModelPricing::of("gpt-4o-mini").cost(1, 0).micros(), 1);
        assert_eq!(ModelPricing::of("gpt-4").cost(u64::MAX, u64::MAX), Money(u64::MAX));
    }
}
