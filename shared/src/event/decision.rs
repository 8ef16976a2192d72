//! Decisions that callables take, on record for whoever audits them: what was chosen, on what grounds, and what else
//! could have been. Fields and words are those of the original specification.

use serde::{Deserialize, Serialize};

use crate::id::{DecisionId, ExecutionId};

/// Most facts, constraints, ids of evidence or alternatives of one decision.
pub const MAX_GROUNDS: usize = 64;
/// Longest fact, constraint, id, option or name, in bytes.
pub const MAX_GROUND_BYTES: usize = 1024;
/// Longest outcome or reason, in bytes.
pub const MAX_REASONING_BYTES: usize = 4096;

/// What was chosen, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    pub decision_type: DecisionType,
    pub outcome: String,
    /// 0 to 1.
    pub confidence: f64,
    #[serde(default, skip_serializing_if = "DecisionInputs::is_empty")]
    pub inputs: DecisionInputs,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<DecisionAlternative>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_context: Option<ModelContext>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionType {
    Routing,
    Branch,
    Approval,
    Escalation,
    Retry,
    Fallback,
    PolicyEvaluation,
    ToolSelection,
    Rejection,
}

impl DecisionType {
    pub const ALL: [DecisionType; 9] = [
        DecisionType::Routing,
        DecisionType::Branch,
        DecisionType::Approval,
        DecisionType::Escalation,
        DecisionType::Retry,
        DecisionType::Fallback,
        DecisionType::PolicyEvaluation,
        DecisionType::ToolSelection,
        DecisionType::Rejection,
    ];
}

/// What the decision rests on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionInputs {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// Of messages or artifacts, as whoever decides names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence_ids: Vec<String>,
}

impl DecisionInputs {
    fn is_empty(&self) -> bool {
        *self == DecisionInputs::default()
    }
}

/// What was not chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionAlternative {
    pub option: String,
    /// 0 to 1.
    pub score: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_reason: Option<String>,
}

/// The model that decided, as it was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelContext {
    pub provider: String,
    pub model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Not negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
}

impl DecisionRecord {
    /// Its parts that have a default left at it.
    pub fn new(decision_type: DecisionType, outcome: impl Into<String>, confidence: f64) -> Self {
        DecisionRecord {
            decision_type,
            outcome: outcome.into(),
            confidence,
            inputs: DecisionInputs::default(),
            alternatives: Vec::new(),
            model_context: None,
            reasoning: None,
        }
    }

    /// Why it cannot be recorded.
    pub fn problem(&self) -> Option<String> {
        // A value that is no number is in no range either.
        let share = |value: f64| (0.0..=1.0).contains(&value);
        if !share(self.confidence) {
            return Some("the confidence of a decision goes from 0 to 1".to_owned());
        }
        if !self.alternatives.iter().all(|each| share(each.score)) {
            return Some("the score of an alternative goes from 0 to 1".to_owned());
        }
        if let Some(temperature) = self.model_context.as_ref().and_then(|model| model.temperature)
            && !(temperature.is_finite() && temperature >= 0.0)
        {
            return Some("the temperature of a model is not negative".to_owned());
        }
        let DecisionInputs { facts, constraints, evidence_ids } = &self.inputs;
        let lists = [
            ("facts", facts.len()),
            ("constraints", constraints.len()),
            ("evidence ids", evidence_ids.len()),
            ("alternatives", self.alternatives.len()),
        ];
        if let Some((what, found)) = lists.into_iter().find(|(_, count)| *count > MAX_GROUNDS) {
            return Some(format!("a decision has {found} {what}; the limit is {MAX_GROUNDS}"));
        }
        let options = self.alternatives.iter().map(|each| &each.option);
        let model = self.model_context.iter().flat_map(|model| [&model.provider, &model.model]);
        let mut grounds = facts.iter().chain(constraints).chain(evidence_ids).chain(options).chain(model);
        if grounds.any(|text| text.is_empty() || text.len() > MAX_GROUND_BYTES) {
            return Some(format!(
                "a fact, constraint, id, option or name in a decision has 1 to {MAX_GROUND_BYTES} bytes"
            ));
        }
        if self
            .model_context
            .as_ref()
            .and_then(|model| model.version.as_ref())
            .is_some_and(|v| v.len() > MAX_GROUND_BYTES)
        {
            return Some(format!("the version of a model has at most {MAX_GROUND_BYTES} bytes"));
        }
        if self.outcome.is_empty() {
            return Some("a decision has an outcome".to_owned());
        }
        let rejected = self.alternatives.iter().filter_map(|each| each.rejected_reason.as_ref());
        let mut reasons = rejected.chain(&self.reasoning).chain([&self.outcome]);
        reasons
            .any(|text| text.len() > MAX_REASONING_BYTES)
            .then(|| format!("an outcome or a reason in a decision has at most {MAX_REASONING_BYTES} bytes"))
    }
}

/// The id of a decision: of the execution and the sequence of the event that records it.
pub fn decision_id(execution: ExecutionId, sequence: u64) -> DecisionId {
    DecisionId::derived("stepstream 2026 decision id", &[execution.as_bytes(), &sequence.to_be_bytes()])
}
