//! Turns through the public API: a scripted model, the real sandbox.
#![allow(clippy::unwrap_used)]

mod support;

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use reckon_agent::{Session, Settings};
use reckon_model::{
    Call, Delta, EXECUTE_PYTHON, Finish, Message, ModelError, Request, ToolChoice,
    scripted::{Script, ScriptedModel},
};
use reckon_protocol::{Event, EventKind, ProblemCode, Status};
use support::House;

/// Opens an engine or skips, with the name of the calling test.
macro_rules! house {
    ($test:ident) => {
        match House::open(stringify!($test)).await {
            Some(house) => house,
            None => return,
        }
    };
}

async fn session(house: &House, model: &ScriptedModel) -> Arc<Session> {
    session_with(house, model, Settings::default()).await
}

async fn session_with(house: &House, model: &ScriptedModel, settings: Settings) -> Arc<Session> {
    Session::begin(house.engine.clone(), Arc::new(model.clone()), settings).await.unwrap()
}

/// Runs a turn to its end. The numbers have no gaps, and the last event is an answer or a problem.
async fn turn(session: &Arc<Session>, prompt: &str) -> Vec<EventKind> {
    let events: Vec<Event> = session.turn(prompt).unwrap().collect().await;
    assert!(events.iter().enumerate().all(|(place, event)| event.seq == place as u64));
    let kinds: Vec<EventKind> = events.into_iter().map(|event| event.kind).collect();
    assert!(matches!(kinds.last(), Some(EventKind::Answer { .. } | EventKind::Problem(_))), "{kinds:?}");
    kinds
}

fn answer(events: &[EventKind]) -> &str {
    match events.last() {
        Some(EventKind::Answer { output }) => output,
        other => panic!("no answer but {other:?}"),
    }
}

fn stdout(events: &[EventKind]) -> String {
    let texts = events.iter().filter_map(|event| match event {
        EventKind::Stdout { text, .. } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn executions(events: &[EventKind]) -> usize {
    events.iter().filter(|event| matches!(event, EventKind::Finished { .. })).count()
}

fn files(events: &[EventKind]) -> Vec<&str> {
    let files = events.iter().filter_map(|event| match event {
        EventKind::Files { files } => Some(files),
        _ => None,
    });
    files.flatten().map(|file| file.name.as_str()).collect()
}

/// Returns the results that the model was told in a request, oldest first.
fn told(request: &Request) -> Vec<&str> {
    let results = request.messages.iter().filter_map(|message| match message {
        Message::ToolResult { text, .. } => Some(text.as_str()),
        _ => None,
    });
    results.collect()
}

fn call(name: &str, arguments: &str) -> Call {
    Call { id: String::new(), name: name.into(), arguments: arguments.into() }
}

#[tokio::test]
async fn a_prompt_is_answered_by_executed_python() {
    let house = house!(a_prompt_is_answered_by_executed_python);
    let code = "import math\nprint(math.factorial(5))";
    let model = ScriptedModel::new([Script::python(code), Script::text("It is 120.")]);
    let session = session(&house, &model).await;
    let events = turn(&session, "Calculate 5 factorial using Python").await;
    let EventKind::TurnStarted { session: id, model: name } = &events[0] else { panic!("{events:?}") };
    assert_eq!((id, name.as_str()), (session.id(), "scripted"));
    let written: String = events
        .iter()
        .filter_map(|event| match event {
            EventKind::CallDelta { call: 0, delta } => Some(delta.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(written, code);
    assert!(events.contains(&EventKind::Call { call: 0, code: code.into() }));
    assert_eq!(stdout(&events), "120\n");
    assert_eq!(answer(&events), "It is 120.");
    let requests = model.requests();
    assert_eq!(requests[0].tools[0].name, EXECUTE_PYTHON);
    assert!(requests[0].system.contains("/workspace"));
    assert!(told(&requests[1])[0].starts_with("[exit: ok]"), "{:?}", told(&requests[1]));
    assert!(told(&requests[1])[0].contains("stdout:\n120"));
    house.close().await;
}

#[tokio::test]
async fn state_is_kept_within_a_turn_and_between_turns() {
    let house = house!(state_is_kept_within_a_turn_and_between_turns);
    let model = ScriptedModel::new([
        Script::python("x = 20"),
        Script::python("x += 1\nx"),
        Script::text("21"),
        Script::python("print(x * 2)"),
        Script::text("42"),
    ]);
    let session = session(&house, &model).await;
    turn(&session, "Count").await;
    let events = turn(&session, "And doubled?").await;
    assert_eq!(stdout(&events), "42\n");
    let requests = model.requests();
    assert!(told(&requests[2])[1].contains("result: 21"), "{:?}", told(&requests[2]));
    // The second turn knows the first.
    let Message::Assistant { text, .. } = &requests[3].messages[5] else {
        panic!("{:?}", requests[3].messages)
    };
    assert_eq!(text, "21");
    house.close().await;
}

#[tokio::test]
async fn the_model_reads_the_traceback_and_mends_its_code() {
    let house = house!(the_model_reads_the_traceback_and_mends_its_code);
    let model = ScriptedModel::new([
        Script::python("print('before')\n1 / 0"),
        Script::python("def broken(:"),
        Script::text("Neither works."),
    ]);
    let session = session(&house, &model).await;
    let events = turn(&session, "Divide").await;
    let statuses: Vec<Status> = events
        .iter()
        .filter_map(|event| match event {
            EventKind::Finished { status, .. } => Some(*status),
            _ => None,
        })
        .collect();
    assert_eq!(statuses, [Status::Error, Status::Error]);
    let requests = model.requests();
    let told = told(&requests[2]);
    assert!(
        told[0].contains("before") && told[0].contains("ZeroDivisionError: division by zero"),
        "{}",
        told[0]
    );
    assert!(told[1].starts_with("[exit: error]") && told[1].contains("SyntaxError"), "{}", told[1]);
    assert!(!told.concat().contains("[object Object]"));
    house.close().await;
}

#[tokio::test]
async fn stdout_is_told_beside_a_result() {
    let house = house!(stdout_is_told_beside_a_result);
    let model = ScriptedModel::new([Script::python("print('printed')\n6 * 7"), Script::text("ok")]);
    let session = session(&house, &model).await;
    turn(&session, "Both").await;
    let requests = model.requests();
    let told = told(&requests[1])[0];
    assert!(told.contains("stdout:\nprinted") && told.contains("result: 42"), "{told}");
    assert!(!told.contains("Out["), "{told}");
    house.close().await;
}

#[tokio::test]
async fn several_calls_of_one_reply_run_in_order() {
    let house = house!(several_calls_of_one_reply_run_in_order);
    let code = |code: &str| call(EXECUTE_PYTHON, &serde_json::json!({ "code": code }).to_string());
    let model = ScriptedModel::new([
        Script::calls(vec![code("x = [1]\nprint(x)"), code("x.append(2)\nprint(x)")]),
        Script::text("done"),
    ]);
    let session = session(&house, &model).await;
    let events = turn(&session, "Twice").await;
    assert_eq!(stdout(&events), "[1]\n[1, 2]\n");
    let calls: Vec<u32> = events
        .iter()
        .filter_map(|event| match event {
            EventKind::Call { call, .. } => Some(*call),
            _ => None,
        })
        .collect();
    assert_eq!(calls, [0, 1]);
    assert_eq!(told(&model.requests()[1]).len(), 2);
    house.close().await;
}

#[tokio::test]
async fn the_last_step_has_no_tool_and_gives_an_answer() {
    let house = house!(the_last_step_has_no_tool_and_gives_an_answer);
    let mut scripts: Vec<Script> = (0..5).map(|number| Script::python(&format!("print({number})"))).collect();
    scripts.push(Script::text("That is as far as I came."));
    let model = ScriptedModel::new(scripts);
    let session = session(&house, &model).await;
    let events = turn(&session, "Go on").await;
    assert_eq!(answer(&events), "That is as far as I came.");
    assert_eq!(executions(&events), 5);
    let requests = model.requests();
    assert_eq!(requests.len(), 6);
    assert!(requests[..5].iter().all(|request| request.tool_choice == ToolChoice::Auto));
    assert_eq!(requests[5].tool_choice, ToolChoice::None);
    assert!(requests[5].last_user_text().contains("Answer now"));
    assert!(told(&requests[4])[3].ends_with("(One more call is possible; then you have to answer.)"));
    house.close().await;
}

#[tokio::test]
async fn an_answer_without_words_is_made_from_the_last_outcome() {
    let house = house!(an_answer_without_words_is_made_from_the_last_outcome);
    let silent = || Script::text("");
    let model = ScriptedModel::new([Script::python("print('sum', 55)"), silent(), silent(), silent()]);
    let session = session(&house, &model).await;
    let events = turn(&session, "Sum").await;
    assert!(answer(&events).contains("gave no closing words"), "{}", answer(&events));
    assert!(answer(&events).contains("sum 55"), "{}", answer(&events));
    let requests = model.requests();
    assert_eq!(requests.len(), 4, "asked again once, then nudged");
    assert!(requests[3].last_user_text().contains("was empty"));
    house.close().await;
}

#[tokio::test]
async fn a_fifth_call_that_the_model_may_not_make_is_not_run() {
    let house = house!(a_fifth_call_that_the_model_may_not_make_is_not_run);
    let settings = Settings { max_steps: 1, ..Settings::default() };
    let disobedient = || Script::python("print('not allowed')");
    let model =
        ScriptedModel::new([Script::python("print('one')"), disobedient(), disobedient(), disobedient()]);
    let session = session_with(&house, &model, settings).await;
    let events = turn(&session, "Once").await;
    assert_eq!(executions(&events), 1);
    assert!(answer(&events).contains("one"), "{}", answer(&events));
    house.close().await;
}

#[tokio::test]
async fn calls_that_cannot_be_read_are_answered() {
    let house = house!(calls_that_cannot_be_read_are_answered);
    let model = ScriptedModel::new([
        Script::calls(vec![call("get_weather", r#"{"city":"Oslo"}"#)]),
        Script::calls(vec![call(EXECUTE_PYTHON, "{}")]),
        Script::text("I cannot."),
    ]);
    let session = session(&house, &model).await;
    let events = turn(&session, "Weather").await;
    assert_eq!(executions(&events), 0);
    assert_eq!(events.iter().filter(|event| matches!(event, EventKind::Notice { .. })).count(), 2);
    let requests = model.requests();
    let told = told(&requests[2]);
    assert!(told[0].contains(EXECUTE_PYTHON) && told[0].contains("get_weather"), "{}", told[0]);
    assert!(told[1].contains("could not be parsed"), "{}", told[1]);
    house.close().await;
}

#[tokio::test]
async fn the_same_code_a_third_time_is_not_run() {
    let house = house!(the_same_code_a_third_time_is_not_run);
    let again = || Script::python("print('same')");
    let model = ScriptedModel::new([again(), again(), again(), Script::text("enough")]);
    let session = session(&house, &model).await;
    let events = turn(&session, "Loop").await;
    assert_eq!(executions(&events), 2);
    assert!(told(&model.requests()[3])[2].contains("already ran twice"));
    house.close().await;
}

#[tokio::test]
async fn figures_and_files_reach_the_person_and_a_model_that_sees() {
    let house = house!(figures_and_files_reach_the_person_and_a_model_that_sees);
    let code = "import matplotlib.pyplot as plt\nopen('plot-1.png', 'w').write('mine')\n\
        open('.hidden', 'w').write('x')\nplt.plot([1, 2, 3])\nplt.show()";
    let model = ScriptedModel::new([Script::python(code), Script::text("Drawn.")]).seeing_images();
    let session = session(&house, &model).await;
    let events = turn(&session, "Plot").await;
    assert_eq!(files(&events), ["plot-1.png", "plot-2.png"]);
    let path = "plot-1.png".parse().unwrap();
    let (_, kept) = session.sandbox().open_file(&path).await.unwrap();
    assert_eq!(kept.entry.size, 4, "a file of the user's is not overwritten");
    let requests = model.requests();
    let told = told(&requests[1])[0];
    assert!(
        told.contains("image displayed to the user (PNG ") && told.contains("/workspace/plot-2.png"),
        "{told}"
    );
    assert!(!told.contains("iVBOR"), "no base64 in the text");
    let Some(Message::User { images, .. }) = requests[1].messages.last() else { panic!("no image") };
    assert_eq!(images[0].mime, "image/png");
    assert!(images[0].base64.starts_with("iVBOR"));
    house.close().await;
}

#[tokio::test]
async fn attached_files_are_told_once() {
    let house = house!(attached_files_are_told_once);
    let model = ScriptedModel::new([
        Script::python("print(open('data.csv').read())"),
        Script::text("Read."),
        Script::text("Nothing new."),
    ]);
    let session = session(&house, &model).await;
    session.attach(&"data.csv".parse().unwrap(), b"a,b\n1,2\n").await.unwrap();
    let events = turn(&session, "Describe it").await;
    assert_eq!(stdout(&events), "a,b\n1,2\n\n");
    assert_eq!(files(&events), [""; 0], "reading changes nothing");
    turn(&session, "And now?").await;
    let requests = model.requests();
    assert_eq!(
        requests[0].messages[0],
        Message::user("Describe it\n\nAttached files: /workspace/data.csv (8 B)")
    );
    assert_eq!(requests[2].last_user_text(), "And now?");
    house.close().await;
}

#[tokio::test]
async fn long_output_is_cut_and_kept_in_a_file_that_the_model_can_read() {
    let house = house!(long_output_is_cut_and_kept_in_a_file_that_the_model_can_read);
    let model = ScriptedModel::new([
        Script::python("for i in range(20_000): print('line', i)"),
        Script::python("print(len(open('.logs/cell-1.txt').read().splitlines()))"),
        Script::text("Long."),
    ]);
    let session = session(&house, &model).await;
    let events = turn(&session, "Print").await;
    assert!(stdout(&events).ends_with("20000\n"));
    let requests = model.requests();
    let told = told(&requests[1])[0];
    assert!(
        told.len() < 30_000 && told.contains("full output in /workspace/.logs/cell-1.txt"),
        "{}",
        told.len()
    );
    assert!(told.contains("line 0\n") && told.contains("line 19999"));
    assert_eq!(files(&events), [""; 0], "logs are for the model");
    house.close().await;
}

#[tokio::test]
async fn a_dead_interpreter_is_told() {
    let house = house!(a_dead_interpreter_is_told);
    let model = ScriptedModel::new([
        Script::python("import os\nos._exit(3)"),
        Script::python("print('alive')"),
        Script::text("It lives."),
    ]);
    let session = session(&house, &model).await;
    let events = turn(&session, "Die").await;
    assert_eq!(stdout(&events), "alive\n");
    assert!(told(&model.requests()[1])[0].contains("variables lost, files in /workspace kept"));
    house.close().await;
}

#[tokio::test]
async fn a_sandbox_that_is_gone_is_renewed() {
    let house = house!(a_sandbox_that_is_gone_is_renewed);
    let model =
        ScriptedModel::new([Script::python("print(1)"), Script::python("print(2)"), Script::text("Again.")]);
    let session = session(&house, &model).await;
    let first = session.sandbox().id().clone();
    assert!(house.engine.delete(&first).await.unwrap());
    let events = turn(&session, "Run").await;
    assert_eq!(stdout(&events), "2\n");
    assert!(told(&model.requests()[1])[0].contains("previous Python session is gone"));
    assert_ne!(*session.sandbox().id(), first);
    house.close().await;
}

#[tokio::test]
async fn a_model_that_fails_is_a_problem_and_the_session_goes_on() {
    let house = house!(a_model_that_fails_is_a_problem_and_the_session_goes_on);
    let down = ModelError::Unreachable { url: "http://127.0.0.1:1/v1".into(), detail: "refused".into() };
    let model = ScriptedModel::new([
        Script::python("print('kept')"),
        Script::Fails(down),
        Script::Deltas(vec![Delta::Text("cut".into())]),
        Script::text("Back."),
    ]);
    let session = session(&house, &model).await;
    for words in ["connect to the model server", "cut off"] {
        let events = turn(&session, "Try").await;
        let Some(EventKind::Problem(problem)) = events.last() else { panic!("{events:?}") };
        assert_eq!(problem.code, ProblemCode::ModelUnavailable);
        assert!(problem.message.contains(words) && problem.hint.is_some(), "{problem:?}");
    }
    assert_eq!(answer(&turn(&session, "Once more").await), "Back.");
    // The conversation alternates although two turns had no answer.
    let requests = model.requests();
    let roles: Vec<&str> = requests[3]
        .messages
        .iter()
        .map(|message| match message {
            Message::User { .. } => "user",
            Message::Assistant { .. } => "assistant",
            Message::ToolResult { .. } => "tool",
        })
        .collect();
    assert_eq!(roles, ["user", "assistant", "tool", "assistant", "user", "assistant", "user"]);
    house.close().await;
}

#[tokio::test]
async fn a_dropped_turn_interrupts_the_code_and_frees_the_session() {
    let house = house!(a_dropped_turn_interrupts_the_code_and_frees_the_session);
    let endless = "import time\ntry:\n    print('begun', flush=True)\n    while True: time.sleep(0.01)\n\
        except KeyboardInterrupt:\n    stopped = True\n    raise";
    let model = ScriptedModel::new([
        Script::python(endless),
        Script::python("print('stopped:', stopped)"),
        Script::text("Stopped."),
        Script::Hangs,
        Script::text("Free."),
    ]);
    let session = session(&house, &model).await;
    let mut running = session.turn("Run for ever").unwrap();
    while let Some(event) = running.next().await {
        if matches!(event.kind, EventKind::Stdout { .. }) {
            break;
        }
    }
    assert!(session.is_at_work());
    assert!(session.turn("Another").is_err(), "one turn at a time");
    drop(running);
    let events = turn(&session, "What happened?").await;
    assert_eq!(stdout(&events), "stopped: True\n");
    let requests = model.requests();
    assert!(told(&requests[1])[0].contains("interrupted before this call"));
    // A model that says nothing is let go of too.
    let mut hanging = session.turn("Think").unwrap();
    assert!(matches!(hanging.next().await.unwrap().kind, EventKind::TurnStarted { .. }));
    assert!(tokio::time::timeout(Duration::from_millis(50), hanging.next()).await.is_err());
    drop(hanging);
    assert_eq!(answer(&turn(&session, "Still there?").await), "Free.");
    house.close().await;
}

#[tokio::test]
async fn claimed_output_without_a_call_is_nudged_once() {
    let house = house!(claimed_output_without_a_call_is_nudged_once);
    let claim = "```python\nprint(2**10)\n```\nOutput:\n```\n1023\n```";
    let model = ScriptedModel::new([
        Script::text(claim),
        Script::python("print(2**10)"),
        Script::text("It is 1024."),
    ]);
    let session = session(&house, &model).await;
    let events = turn(&session, "2 to the 10").await;
    assert_eq!((stdout(&events).as_str(), answer(&events)), ("1024\n", "It is 1024."));
    let model = ScriptedModel::new([Script::text(claim), Script::text(claim)]);
    let stubborn = self::session(&house, &model).await;
    assert_eq!(answer(&turn(&stubborn, "2 to the 10").await), claim);
    house.close().await;
}

#[tokio::test]
async fn an_ended_session_leaves_no_sandbox() {
    let house = house!(an_ended_session_leaves_no_sandbox);
    let usage = Delta::Finished { reason: Finish::Stop, usage: None };
    let model = ScriptedModel::new([Script::Deltas(vec![Delta::Text("hi".into()), usage])]);
    let session = session(&house, &model).await;
    turn(&session, "Hello").await;
    assert_eq!(house.engine.sandboxes().len(), 1);
    session.end().await.unwrap();
    assert_eq!(house.engine.sandboxes().len(), 0);
    house.close().await;
}
