//! Recorded workflows to run: those of the collection where its folder is there, and small ones of our own.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::verdict::Facts;

/// A recording and what it says of itself.
#[derive(Debug)]
pub struct Recording {
    pub name: String,
    pub path: PathBuf,
    pub tasks: usize,
    pub edges: usize,
    /// Seconds on the longest path.
    pub critical_path: f64,
    /// Seconds of all tasks.
    pub work: f64,
    /// Of all tasks, by place.
    ids: Vec<String>,
    /// For each task its seconds, and its parents by place.
    order: Vec<(f64, Vec<usize>)>,
}

impl Recording {
    /// Seconds below which no schedule on so many slots can stay.
    pub fn bound(&self, slots: usize) -> f64 {
        self.critical_path.max(self.work / slots as f64)
    }

    /// What in this log is not as the recording says: a task that is no step or not one only, or a step that was
    /// scheduled before a parent of its task had ended. The imported graph only says which step is which task, by the
    /// label that keeps the task's id where a node cannot be called so.
    pub fn disorder(&self, document: &Value, facts: &Facts) -> Option<String> {
        let mut steps = HashMap::new();
        for step in &facts.steps {
            let id = document["nodes"][&step.node]["label"].as_str().unwrap_or(&step.node);
            if steps.insert(id, step).is_some() {
                return Some(format!("{id} is two steps"));
            }
        }
        if steps.len() != self.ids.len() {
            return Some(format!("{} tasks are {} steps", self.ids.len(), steps.len()));
        }
        for (id, (_, parents)) in self.ids.iter().zip(&self.order) {
            let Some(step) = steps.get(id.as_str()) else { return Some(format!("{id} is no step")) };
            for parent in parents {
                let parent = &self.ids[*parent];
                let ended = steps.get(parent.as_str()).and_then(|step| step.settled);
                if ended.is_none_or(|ended| ended >= step.scheduled) {
                    return Some(format!("{id} was scheduled before {parent} had ended"));
                }
            }
        }
        None
    }

    /// Seconds that a scheduler takes that costs nothing and starts what is ready in the order in which it became so:
    /// the last tasks seldom fill all slots, so that some recordings cannot come near the bound on some numbers of slots.
    pub fn greedy(&self, slots: usize) -> f64 {
        let mut missing: Vec<usize> = self.order.iter().map(|(_, parents)| parents.len()).collect();
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.order.len()];
        for (task, (_, parents)) in self.order.iter().enumerate() {
            parents.iter().for_each(|parent| children[*parent].push(task));
        }
        let mut ready: VecDeque<usize> = (0..self.order.len()).filter(|task| missing[*task] == 0).collect();
        let mut running: Vec<(f64, usize)> = Vec::new();
        let mut now = 0.0;
        loop {
            while running.len() < slots
                && let Some(task) = ready.pop_front()
            {
                running.push((now + self.order[task].0, task));
            }
            let first = running.iter().enumerate().min_by(|(_, a), (_, b)| a.0.total_cmp(&b.0)).map(|(place, _)| place);
            let Some(first) = first else { return now };
            let (end, task) = running.swap_remove(first);
            now = end;
            for child in &children[task] {
                missing[*child] -= 1;
                if missing[*child] == 0 {
                    ready.push_back(*child);
                }
            }
        }
    }
}

/// Our own, always there.
pub fn own() -> Vec<Recording> {
    recordings(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data"))
}

/// The collection's, beside the repository (or its working copies). Empty when the folder is absent, which is said.
pub fn collected() -> Vec<Recording> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for up in ["..", "../.."] {
        let folder = repository.join(up).join("shared/data/wfinstances");
        if folder.is_dir() {
            return recordings(&folder);
        }
    }
    println!("note: ../shared/data/wfinstances is absent: only the recordings of tests/data are run");
    Vec::new()
}

fn recordings(folder: &Path) -> Vec<Recording> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// # Panics
/// When it is not a recording.
pub fn read(path: &Path) -> Recording {
    let document: Value = serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON");
    let workflow = &document["workflow"];
    let specified = workflow["specification"]["tasks"].as_array().expect("tasks");
    let seconds: HashMap<&str, f64> = workflow["execution"]["tasks"]
        .as_array()
        .expect("runs")
        .iter()
        .map(|task| (task["id"].as_str().expect("an id"), task["runtimeInSeconds"].as_f64().unwrap_or(0.0)))
        .collect();
    // Until nothing changes any more: recordings are small, and in no order that we may rely on.
    let mut ends: HashMap<&str, f64> = HashMap::new();
    loop {
        let mut changed = false;
        for task in specified {
            let id = task["id"].as_str().expect("an id");
            let parents = task["parents"].as_array().map(Vec::as_slice).unwrap_or_default();
            let begin = parents.iter().map(|parent| ends.get(parent.as_str().expect("an id")).copied().unwrap_or(0.0));
            let end = begin.fold(0.0, f64::max) + seconds.get(id).copied().unwrap_or(0.0);
            if ends.get(id) != Some(&end) {
                ends.insert(id, end);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    let place: HashMap<&str, usize> =
        specified.iter().enumerate().map(|(place, task)| (task["id"].as_str().expect("an id"), place)).collect();
    let order = specified
        .iter()
        .map(|task| {
            let parents = task["parents"].as_array().map(Vec::as_slice).unwrap_or_default();
            let parents = parents.iter().map(|parent| place[parent.as_str().expect("an id")]).collect();
            (seconds.get(task["id"].as_str().expect("an id")).copied().unwrap_or(0.0), parents)
        })
        .collect();
    Recording {
        ids: specified.iter().map(|task| task["id"].as_str().expect("an id").to_owned()).collect(),
        order,
        name: path.file_stem().expect("a file").to_string_lossy().into_owned(),
        path: path.to_owned(),
        tasks: specified.len(),
        edges: specified.iter().filter_map(|task| task["parents"].as_array()).map(Vec::len).sum(),
        critical_path: ends.values().copied().fold(0.0, f64::max),
        work: specified.iter().filter_map(|task| seconds.get(task["id"].as_str()?)).sum(),
    }
}

/// A recording as large as the largest known: 2,122 tasks, 6,114 edges, a fan-in of 1,100.
pub fn largest() -> Value {
    const TASKS: usize = 2_122;
    const EDGES: usize = 6_114;
    const FAN_IN: usize = 1_100;
    let mut parents: Vec<Vec<usize>> = vec![Vec::new(); TASKS];
    // Task 0 begins, tasks 1..=1100 follow it, 1101 joins them; the rest hang on it and among each other.
    parents[1..=FAN_IN].iter_mut().for_each(|of| of.push(0));
    parents[FAN_IN + 1] = (1..=FAN_IN).collect();
    parents[FAN_IN + 2..].iter_mut().for_each(|of| of.push(FAN_IN + 1));
    let mut left = EDGES - parents.iter().map(Vec::len).sum::<usize>();
    for distance in 1.. {
        for (task, of) in parents.iter_mut().enumerate().skip(FAN_IN + 3) {
            if left > 0 && task - distance > FAN_IN + 1 {
                of.push(task - distance);
                left -= 1;
            }
        }
        if left == 0 {
            break;
        }
    }
    let id = |task: usize| format!("task-{task:05}.ω");
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); TASKS];
    for (task, of) in parents.iter().enumerate() {
        for parent in of {
            children[*parent].push(task);
        }
    }
    let names = |of: &[usize]| of.iter().map(|task| id(*task)).collect::<Vec<_>>();
    let specified: Vec<Value> = (0..TASKS)
        .map(|task| json!({"name": "t", "id": id(task), "parents": names(&parents[task]), "children": names(&children[task])}))
        .collect();
    let run: Vec<Value> = (0..TASKS).map(|task| json!({"id": id(task), "runtimeInSeconds": 0.5})).collect();
    json!({
        "name": "largest", "schemaVersion": "1.5",
        "workflow": {"specification": {"tasks": specified}, "execution": {"makespanInSeconds": 1, "tasks": run}}
    })
}
