//! Tables for people. Programs ask for JSON.

use comfy_table::{ContentArrangement, Table, presets};

/// Columns under headings, without lines. Never wrapped: an id that is torn cannot be copied.
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headings.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| crate::output::printable(cell)).collect::<Vec<_>>());
    }
    let last = table.column_count().saturating_sub(1);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if at == last { 0 } else { 2 }));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
