//! One step's question to the model: the request, the deltas on their way to the screen, and the
//! second chance for a reply that holds nothing.

use futures_util::StreamExt as _;
use reckon_model::{Answer, Delta, Message, ModelError, Reply, Request, ToolChoice};
use reckon_protocol::{EventKind, Problem, ProblemCode};

use crate::{code_stream::CodeStream, prompt, turn::Work};

impl Work {
    /// Asks the model for its next reply; without the tool when it has to answer now. An empty
    /// reply is asked for again, at last with a nudge.
    pub(crate) async fn ask(&mut self, last: bool) -> Result<Reply, Problem> {
        let closing = last.then_some(prompt::ANSWER_NOW);
        let mut reply = Reply::default();
        for nudge in [closing, closing, Some(prompt::EMPTY_REPLY)] {
            let request = self.request(last, nudge);
            reply =
                self.listen(self.session.model().ask(request)).await.map_err(|error| unavailable(&error))?;
            if last {
                // Some servers let a model call what it was told not to.
                reply.calls.clear();
            }
            if !reply.is_empty() {
                break;
            }
        }
        Ok(reply)
    }

    fn request(&self, last: bool, nudge: Option<&str>) -> Request {
        let session = &self.session;
        let settings = session.settings();
        let mut messages = self.history.fitted(session.model().context_tokens(), settings.max_tokens);
        messages.extend(nudge.map(Message::user));
        let timeout = std::time::Duration::from_millis(session.sandbox().limits().timeout_ms);
        Request {
            system: prompt::system(&settings.packages, timeout),
            messages,
            tools: vec![prompt::tool()],
            tool_choice: if last { ToolChoice::None } else { ToolChoice::Auto },
            max_tokens: settings.max_tokens,
            temperature: settings.temperature,
            reasoning_effort: settings.reasoning_effort,
        }
    }

    /// Forwards the deltas of a reply and returns the whole.
    async fn listen(&mut self, mut answer: Answer) -> Result<Reply, ModelError> {
        let mut reply = Reply::default();
        let mut codes: Vec<CodeStream> = Vec::new();
        while let Some(delta) = answer.next().await {
            let delta = delta?;
            reply.absorb(&delta);
            match delta {
                Delta::Text(delta) => self.events.send(EventKind::Text { delta }).await,
                Delta::Reasoning(delta) => self.events.send(EventKind::Reasoning { delta }).await,
                Delta::CallStarted { .. } => codes.push(CodeStream::default()),
                Delta::CallArguments { index, fragment } => {
                    let delta = codes.get_mut(index).map(|code| code.push(&fragment)).unwrap_or_default();
                    if !delta.is_empty() {
                        let call = self.calls + index as u32;
                        self.events.send(EventKind::CallDelta { call, delta }).await;
                    }
                }
                Delta::Finished { .. } => {}
            }
        }
        if reply.finish.is_none() { Err(ModelError::Cut) } else { Ok(reply) }
    }
}

fn unavailable(error: &ModelError) -> Problem {
    Problem::new(ProblemCode::ModelUnavailable, error.to_string()).with_hint(error.hint())
}
