//! The document of a schedule: read like a graph's, with the same messages.

use std::collections::HashMap;
use std::time::Duration;

use chrono_tz::{TZ_VARIANTS, Tz};
use serde_json::Value as Json;

use super::cron::Cron;
use super::policy::{DEFAULT_CATCH_UP, DEFAULT_MAX_BUFFERED, MIN_CATCH_UP, Overlap, Policy};
use super::state::MAX_PENDING;
use super::timing::{MAX_JITTER, MIN_EVERY, Timing};
use crate::graph::diagnose::{Diagnostics, Place, Reporter};
use crate::graph::document::duration::{self, Zero};
use crate::graph::document::fields::{self, Fields, Known, Pattern};
use crate::graph::document::tree::{Tree, canonical};
use crate::graph::document::{self, short, word};
use crate::graph::expression::{Names, Template};
use crate::graph::{Source, suggest};
use crate::id::{Kind, TriggerKind};
use crate::time::Timestamp;

/// Largest document of a schedule, in bytes: its inputs are most of it.
pub const MAX_DEFINITION_BYTES: usize = 256 * 1024;
/// Longest name.
pub const NAME_BYTES: usize = 128;
/// Longest description, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 1024;
/// Longest reference to a graph: a name and a version.
const MAX_GRAPH_BYTES: usize = 256;
/// Most firings of a schedule, for one that says how many.
const MAX_FIRES: u32 = 1_000_000_000;
/// Moments in documents lie between these, so that no arithmetic on calendars can leave its range.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=2999;

const SCHEDULE: Known = Known {
    what: "a schedule",
    fields: &[
        "name",
        "description",
        "graph",
        "inputs",
        "cron",
        "time_zone",
        "every",
        "offset",
        "start_at",
        "end_at",
        "max_fires",
        "jitter",
        "overlap",
        "max_buffered",
        "catch_up",
        "pause_on_failure",
    ],
    later: &["calendar", "exclude", "priority", "tags"],
};

/// Names stand in paths, where `.` and `..` mean something else.
const NAME: Pattern = Pattern::new(
    "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}",
    NAME_BYTES,
    |c| c.is_ascii_alphanumeric() || c == '_',
    |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'),
);

const CRON_HINT: &str = "five fields: minute, hour, day of month, month, day of week, such as \"30 2 * * 1-5\"; six with \
                         seconds before them; try it with `stepstream schedule next --cron \"…\"`";

/// What a schedule is.
#[derive(Debug)]
pub struct Definition {
    pub name: String,
    pub description: Option<String>,
    /// `graph_…`, a name (the version registered last when it fires) or `name@version`.
    pub graph: String,
    pub inputs: Template,
    pub timing: Timing,
    pub policy: Policy,
    document: String,
}

/// Whether a text can be the name of a schedule. What looks like an id is none.
pub fn is_name(text: &str) -> bool {
    NAME.fits(text) && !text.starts_with(TriggerKind::PREFIX)
}

impl Definition {
    /// Reads a document, YAML or JSON, as its file's name or its first character says.
    ///
    /// With `now` it is a schedule that begins to be: it must have a nominal time after that.
    ///
    /// # Errors
    /// Every problem, with its place, a reason and a hint.
    pub fn read(source: &Source<'_>, now: Option<Timestamp>) -> Result<Self, Diagnostics> {
        let mut reporter = Reporter::new(source.name, source.text);
        let definition = read(source, now, &mut reporter);
        match definition {
            Some(definition) if reporter.is_clean() => Ok(definition),
            _ => {
                if reporter.is_clean() {
                    reporter.report(Place::START, "syntax", "this is no schedule");
                }
                Err(reporter.finish())
            }
        }
    }

    /// What is stored, and shown: JSON with sorted keys.
    pub fn document(&self) -> &str {
        &self.document
    }

    pub fn to_json(&self) -> Json {
        serde_json::from_str(&self.document).unwrap_or(Json::Null)
    }
}

fn read(source: &Source<'_>, now: Option<Timestamp>, reporter: &mut Reporter<'_>) -> Option<Definition> {
    if source.text.len() > MAX_DEFINITION_BYTES {
        let message = format!(
            "the schedule has {} bytes; the limit is {MAX_DEFINITION_BYTES} (schedule limit)",
            source.text.len()
        );
        reporter.report_with(Place::START, "document-limit", message, "keep data out of it: let the graph fetch it");
        return None;
    }
    let tree = document::parse(source, reporter)?;
    let mut fields = Fields::of(&tree, &SCHEDULE, reporter)?;
    let name = fields.required("name", reporter).and_then(|tree| name(tree, reporter));
    let description = fields.take("description").and_then(|tree| {
        let (text, place) = fields::text(tree, "description", reporter)?;
        fits(text, place, "description", MAX_DESCRIPTION_BYTES, reporter).then(|| text.to_owned())
    });
    let graph = fields.required("graph", reporter).and_then(|tree| {
        let (text, place) = fields::text(tree, "graph", reporter)?;
        if text.is_empty() {
            reporter.report_with(
                place,
                "bad-value",
                "`graph` is empty",
                "a registered graph: its name, NAME@VERSION or id",
            );
            return None;
        }
        if text.contains(char::is_control) {
            reporter.report(place, "bad-value", format!("`graph` cannot be `{}`: no name holds that", short(text)));
            return None;
        }
        fits(text, place, "graph", MAX_GRAPH_BYTES, reporter).then(|| text.to_owned())
    });
    let inputs = inputs(fields.take("inputs"), reporter);
    let policy = policy(&mut fields, reporter);
    let timing = timing(&tree, &mut fields, now, reporter);
    Some(Definition {
        name: name?,
        description,
        graph: graph?,
        inputs: inputs?,
        timing: timing?,
        policy,
        document: canonical(&tree),
    })
}

fn name(tree: &Tree, reporter: &mut Reporter<'_>) -> Option<String> {
    let (text, place) = fields::text(tree, "name", reporter)?;
    if text.starts_with(TriggerKind::PREFIX) {
        let message = format!("a name cannot begin with `{}`, as ids of schedules do", TriggerKind::PREFIX);
        reporter.report(place, "bad-name", message);
        return None;
    }
    fields::matches(text, place, "a schedule's name", &NAME, reporter).then(|| text.to_owned())
}

fn fits(text: &str, place: Place, what: &str, limit: usize, reporter: &mut Reporter<'_>) -> bool {
    if text.len() > limit {
        let message = format!("`{what}` has {} bytes; the limit is {limit}", text.len());
        reporter.report(place, "out-of-range", message);
    }
    text.len() <= limit
}

fn inputs(tree: Option<&Tree>, reporter: &mut Reporter<'_>) -> Option<Template> {
    let nodes = HashMap::new();
    let names = Names { steps: &nodes, output: false, error: false, item: false, iteration: false, schedule: true };
    let json = tree.map_or_else(|| Json::Object(serde_json::Map::new()), Tree::to_json);
    match Template::compile(&json, &names) {
        Ok(template) => Some(template),
        Err(problems) => {
            for misplaced in problems {
                let place = tree.map_or(Place::START, |tree| tree.follow(&misplaced.way).place);
                let (reason, hint) = (misplaced.problem.reason, misplaced.problem.hint);
                match hint {
                    Some(hint) => reporter.report_with(place, "bad-expression", reason, hint),
                    None => reporter.report(place, "bad-expression", reason),
                }
            }
            None
        }
    }
}

fn policy(fields: &mut Fields<'_>, reporter: &mut Reporter<'_>) -> Policy {
    let overlap = fields.take("overlap").and_then(|tree| word(tree, "overlap", &Overlap::WORDS, reporter).copied());
    let overlap = overlap.unwrap_or_default();
    let max_buffered = fields.take_entry("max_buffered").and_then(|(key, tree)| {
        if overlap != Overlap::BufferAll {
            let message = "`max_buffered` goes with `overlap: buffer_all`";
            reporter.report_with(key.place, "bad-value", message, "nothing else keeps more than one waiting");
        }
        let most = u32::try_from(MAX_PENDING).unwrap_or(u32::MAX);
        fields::number(tree, "max_buffered", 1..=most, reporter)
    });
    let catch_up = fields.take("catch_up").and_then(|tree| {
        let catch_up = duration::read(tree, "catch_up", Zero::Allowed, reporter)?;
        if catch_up < MIN_CATCH_UP {
            let message = format!("`catch_up` is at least {}s", MIN_CATCH_UP.as_secs());
            reporter.report_with(tree.place, "out-of-range", message, "nobody is there at the very moment");
        }
        Some(catch_up)
    });
    Policy {
        overlap,
        max_buffered: max_buffered.unwrap_or(DEFAULT_MAX_BUFFERED),
        catch_up: catch_up.unwrap_or(DEFAULT_CATCH_UP),
        pause_on_failure: fields
            .take("pause_on_failure")
            .is_some_and(|tree| fields::flag(tree, "pause_on_failure", reporter)),
    }
}

fn timing(tree: &Tree, fields: &mut Fields<'_>, now: Option<Timestamp>, reporter: &mut Reporter<'_>) -> Option<Timing> {
    let mut good = true;
    let cron_tree = fields.take("cron");
    let cron = cron_tree.and_then(|tree| cron(tree, reporter));
    good &= cron.is_some() == cron_tree.is_some();
    let zone_entry = fields.take_entry("time_zone");
    let zone = zone_entry.map(|(_, tree)| zone(tree, reporter));
    good &= zone.is_none_or(|zone| zone.is_some());
    if let Some((key, _)) = zone_entry
        && cron_tree.is_none()
    {
        let message = "`time_zone` goes with `cron`";
        reporter.report_with(key.place, "bad-value", message, "an interval is the same everywhere: leave it out");
        good = false;
    }
    let every_tree = fields.take("every");
    let every = every_tree.and_then(|tree| every(tree, reporter));
    good &= every.is_some() == every_tree.is_some();
    let offset_entry = fields.take_entry("offset");
    let offset = offset_entry.map(|(key, tree)| {
        let read = duration::read(tree, "offset", Zero::Allowed, reporter)?;
        match every {
            Some(every) if read < every => Some(read),
            Some(_) => {
                reporter.report(tree.place, "out-of-range", "`offset` must be shorter than `every`");
                None
            }
            None => {
                reporter.report(key.place, "bad-value", "`offset` goes with `every`");
                None
            }
        }
    });
    good &= offset.is_none_or(|offset| offset.is_some());
    if cron_tree.is_none() && every_tree.is_none() {
        let message = "the schedule does not say when: it needs `cron` or `every`";
        reporter.report_with(tree.place, "missing-field", message, "such as `cron: \"30 2 * * *\"` or `every: 15m`");
        good = false;
    }
    let start_tree = fields.take("start_at");
    let start_at = start_tree.and_then(|tree| moment(tree, "start_at", reporter));
    let end_tree = fields.take("end_at");
    let end_at = end_tree.and_then(|tree| moment(tree, "end_at", reporter));
    good &= start_at.is_some() == start_tree.is_some() && end_at.is_some() == end_tree.is_some();
    let fires_tree = fields.take("max_fires");
    let max_fires = fires_tree.and_then(|tree| fields::number(tree, "max_fires", 1..=MAX_FIRES, reporter));
    good &= max_fires.is_some() == fires_tree.is_some();
    let jitter = fields.take("jitter").map(|tree| {
        let jitter = duration::read(tree, "jitter", Zero::Allowed, reporter)?;
        if jitter > MAX_JITTER {
            reporter.report(tree.place, "out-of-range", "`jitter` is at most 24h (jitter limit)");
            return None;
        }
        Some(jitter)
    });
    good &= jitter.is_none_or(|jitter| jitter.is_some());
    if !good {
        return None;
    }
    if let (Some(start), Some(end), Some(tree)) = (start_at, end_at, end_tree)
        && end < start
    {
        reporter.report(tree.place, "bad-value", format!("`end_at` ({end}) lies before `start_at` ({start})"));
        return None;
    }
    let timing = Timing {
        cron,
        zone: zone.flatten().unwrap_or(Tz::UTC),
        every,
        offset: offset.flatten().unwrap_or_default(),
        start_at,
        end_at,
        max_fires: max_fires.map(u64::from),
        jitter: jitter.flatten().unwrap_or_default(),
    };
    let idle = timing.cron.as_ref().is_some_and(|cron| !cron.names_a_day());
    if let Some(now) = now
        && (idle || timing.next_after(now).is_none())
    {
        never(&timing, now, cron_tree.or(end_tree).unwrap_or(tree), end_tree, reporter);
        return None;
    }
    Some(timing)
}

/// Says why a schedule would never fire.
fn never(timing: &Timing, now: Timestamp, at: &Tree, end_tree: Option<&Tree>, reporter: &mut Reporter<'_>) {
    let endless = Timing { end_at: None, ..timing.clone() };
    let idle = timing.cron.as_ref().filter(|cron| !cron.names_a_day());
    match (endless.next_after(now).filter(|_| idle.is_none()), timing.end_at, end_tree) {
        (Some(next), Some(end), Some(tree)) => {
            let message = if end <= now {
                format!("the schedule would never fire: `end_at` ({end}) is over")
            } else {
                format!("the schedule would never fire: it would first at {next}, after `end_at` ({end})")
            };
            reporter.report_with(tree.place, "never-fires", message, "move `end_at`, or leave it out");
        }
        _ => {
            let written = timing.cron.as_ref().map_or("", Cron::as_str);
            let whose = if timing.every.is_some() { "`cron`" } else { "the schedule" };
            let message = format!("{whose} would never fire: no day fits `{}`", short(written));
            reporter.report_with(at.place, "never-fires", message, "is there such a day? February has no 30th");
        }
    }
}

fn cron(tree: &Tree, reporter: &mut Reporter<'_>) -> Option<Cron> {
    let (text, place) = fields::text(tree, "cron", reporter)?;
    match Cron::parse(text) {
        Ok(cron) => Some(cron),
        Err(reason) => {
            let message = format!("`cron` cannot be `{}`: {reason}", short(text));
            reporter.report_with(place, "bad-cron", message, CRON_HINT);
            None
        }
    }
}

fn zone(tree: &Tree, reporter: &mut Reporter<'_>) -> Option<Tz> {
    let (text, place) = fields::text(tree, "time_zone", reporter)?;
    match text.parse() {
        Ok(zone) => Some(zone),
        Err(_) => {
            let message = format!("there is no time zone `{}`", short(text));
            let near = suggest::nearest(text, TZ_VARIANTS.iter().map(|zone| zone.name()));
            let hint = near.map_or_else(
                || "a name of the IANA database, such as Europe/Berlin or UTC".to_owned(),
                |name| format!("did you mean `{name}`?"),
            );
            reporter.report_with(place, "unknown-time-zone", message, hint);
            None
        }
    }
}

fn every(tree: &Tree, reporter: &mut Reporter<'_>) -> Option<Duration> {
    let every = duration::read(tree, "every", Zero::Refused, reporter)?;
    if every < MIN_EVERY {
        let message = format!("`every` is at least {}s (interval limit)", MIN_EVERY.as_secs());
        reporter.report_with(tree.place, "out-of-range", message, "what runs more often is a loop inside a graph");
        return None;
    }
    Some(every)
}

fn moment(tree: &Tree, what: &str, reporter: &mut Reporter<'_>) -> Option<Timestamp> {
    const HINT: &str = "with date, time and offset, such as 2027-01-31T08:00:00Z or 2027-01-31T08:00:00+01:00";
    let (text, place) = fields::text(tree, what, reporter)?;
    let Ok(moment) = text.parse::<Timestamp>() else {
        let message = format!("`{what}` cannot be `{}`: no moment in RFC 3339", short(text));
        reporter.report_with(place, "bad-moment", message, HINT);
        return None;
    };
    let year =
        chrono::DateTime::from_timestamp_micros(moment.as_micros()).map(|moment| chrono::Datelike::year(&moment));
    if !year.is_some_and(|year| YEARS.contains(&year)) {
        let message = format!("`{what}` is not in the years {} to {}", YEARS.start(), YEARS.end());
        reporter.report(place, "out-of-range", message);
        return None;
    }
    Some(moment)
}
