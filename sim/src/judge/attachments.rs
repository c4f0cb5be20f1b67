//! A session that ends for silence was silent since its last attachment.
//!
//! An expiry names the attachment that was silent, and whoever attaches meanwhile is safe. The
//! judge counts the attachments by itself, from what the log says and not from what a session's
//! record says.

use super::Judgement;
use accord_core::ids::SessionId;
use accord_core::state::{Command, Completion};
use accord_core::wire::Decode;
use bytes::Bytes;
use std::collections::BTreeMap;

/// How often each session was attached, its opening included.
#[derive(Debug, Default)]
pub struct Attachments {
    counts: BTreeMap<SessionId, u32>,
}

impl Attachments {
    /// A committed command came to this.
    ///
    /// # Errors
    /// If it ended a session for the silence of an attachment that was not its last.
    pub fn on_command(&mut self, command: &Bytes, completion: &Completion) -> Judgement {
        match completion {
            Completion::Opened { session, .. } => {
                self.counts.insert(*session, 1);
            }
            Completion::Attached { session, .. } => {
                *self.counts.entry(*session).or_default() += 1;
            }
            Completion::Ended { session, .. } => {
                let count = self.counts.remove(session).unwrap_or_default();
                if let Ok(Command::Expire { generation, .. }) = Command::from_bytes(command)
                    && generation != count
                {
                    return Err(format!(
                        "{session} expires for the silence of attachment {generation}, and had {count}"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_core::holder::Holder;
    use accord_core::ids::NodeId;
    use accord_core::limits::Limits;
    use accord_core::state::State;
    use accord_core::wire::Encode;

    const SERVER: NodeId = NodeId(1);
    const SESSION: SessionId = SessionId(1);

    #[test]
    fn an_expiry_counts_for_the_last_attachment_alone() {
        let open =
            Command::Open { server: SERVER, token: 1, timeout_ms: 1000, holder: Holder::default() };
        let attach = Command::Attach {
            server: SERVER,
            session: SESSION,
            token: 2,
            holder: Holder::default(),
        };
        let expire = |generation| Command::Expire { server: SERVER, session: SESSION, generation };
        for (last, due) in [(1, false), (2, true)] {
            let mut attachments = Attachments::default();
            let (mut state, mut events) = (State::new(Limits::default()), Vec::new());
            for command in [open.clone(), attach.clone(), expire(1)] {
                let bytes = command.to_bytes();
                let completion = state.apply(&bytes, &mut events);
                assert_eq!(attachments.on_command(&bytes, &completion), Ok(()));
            }
            let ended = Completion::Ended {
                session: SESSION,
                cause: accord_core::state::EndCause::Expired,
            };
            let judgement = attachments.on_command(&expire(last).to_bytes(), &ended);
            assert_eq!(judgement.is_ok(), due);
        }
    }
}
