//! "Did you mean": the known name that is nearest to what was written.

/// Names farther away than this many edits, or half their length, are no suggestion.
const MAX_DISTANCE: usize = 3;
/// Long lists are not searched to the end; a hint is worth only so much time.
const MAX_CANDIDATES: usize = 20_000;
/// Longer names are compared by their beginning.
const MAX_CHARS: usize = 64;

pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written: Vec<char> = written.chars().take(MAX_CHARS).collect();
    known
        .into_iter()
        .take(MAX_CANDIDATES)
        .filter_map(|name| {
            let limit = MAX_DISTANCE.min(written.len().max(name.len()) / 2);
            distance(&written, name, limit).map(|distance| (distance, name))
        })
        .min()
        .map(|(_, name)| name)
}

/// ``did you mean `x`?``, or what else there is.
pub(crate) fn hint<'a>(written: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if written.len() >= 4
        && let Some(name) = known.clone().into_iter().take(MAX_CANDIDATES).find(|name| name.starts_with(written))
    {
        return format!("did you mean `{name}`?");
    }
    if let Some(name) = nearest(written, known.clone()) {
        return format!("did you mean `{name}`?");
    }
    let mut names: Vec<&str> = known.into_iter().take(9).collect();
    let more = names.len() > 8;
    names.truncate(8);
    let listed: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match listed.as_slice() {
        [] => "there are none".to_owned(),
        _ => format!(
            "there {} {}{}",
            if listed.len() == 1 { "is" } else { "are" },
            listed.join(", "),
            if more { ", …" } else { "" }
        ),
    }
}

/// Edits between the two, letter case not counted, if there are at most `limit`.
fn distance(written: &[char], name: &str, limit: usize) -> Option<usize> {
    let name: Vec<char> = name.chars().take(MAX_CHARS).collect();
    if written.len().abs_diff(name.len()) > limit {
        return None;
    }
    let same = |a: char, b: char| a.eq_ignore_ascii_case(&b);
    let mut row: Vec<usize> = (0..=name.len()).collect();
    let mut before: Vec<usize> = Vec::new();
    for (i, a) in written.iter().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for (j, b) in name.iter().enumerate() {
            let mut cost = (row[j] + usize::from(!same(*a, *b))).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && same(*a, name[j - 1]) && same(written[i - 1], *b) {
                cost = cost.min(before[j - 1] + 1);
            }
            next.push(cost);
        }
        before = row;
        row = next;
    }
    row.last().copied().filter(|distance| *distance <= limit)
}
