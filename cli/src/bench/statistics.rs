//! Medians and tails.

/// Measurements in order.
pub(super) struct Spread(Vec<f64>);

impl Spread {
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        Spread(values)
    }

    /// The value below which this part of all measurements lies; nothing when there are none.
    pub(super) fn at(&self, part: f64) -> Option<f64> {
        let last = self.0.len().checked_sub(1)?;
        self.0.get((last as f64 * part).round() as usize).copied()
    }
}
