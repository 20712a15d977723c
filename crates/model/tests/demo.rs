//! The demo planner through its public face: many phrasings, the code really run by the host's Python, and refusals.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};

use reckon_model::{
    DEMO_MODEL, Delta, DemoPlanner, Message, Model as _, Reply, Request, Tool, ToolChoice, intents,
    parse_execute_python,
};

fn request(messages: Vec<Message>) -> Request {
    Request { messages, tools: vec![Tool::execute_python("Runs Python.")], ..Request::default() }
}

async fn ask(messages: Vec<Message>) -> Reply {
    Reply::collect(DemoPlanner.ask(request(messages))).await.unwrap()
}

/// Returns the code for a prompt, or `None` when it is refused.
async fn code(prompt: &str) -> Option<String> {
    let reply = ask(vec![Message::user(prompt)]).await;
    match reply.calls.as_slice() {
        [] => {
            assert!(reply.text.contains(DEMO_MODEL), "{prompt}: {}", reply.text);
            None
        }
        [call] => Some(parse_execute_python(call).unwrap()),
        calls => panic!("{prompt}: {calls:?}"),
    }
}

/// Runs each code in a scope of its own, and reports as the agent does.
const RUNNER: &str = r"
import contextlib, io, json, sys, traceback
reports = []
for code in json.load(sys.stdin):
    printed, exit, error = io.StringIO(), 'ok', ''
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, 'cell', 'exec'), {})
    except Exception:
        exit, error = 'error', traceback.format_exc()
    reports.append(f'[exit: {exit}]  [wall 0.01 s]  [cell 1]\nstdout:\n{printed.getvalue()}{error}'.rstrip())
json.dump(reports, sys.stdout)
";

/// Runs codes in the host's Python and returns the tool result of each.
fn run(codes: &[String]) -> Vec<String> {
    let mut child = Command::new("python3")
        .args(["-I", "-c", RUNNER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Reckon needs python3 on its host");
    serde_json::to_writer(child.stdin.take().unwrap(), codes).unwrap();
    let output = child.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Plays a whole turn for each prompt and returns the answers; a refusal is `None`.
async fn turns(prompts: &[&str]) -> Vec<Option<String>> {
    let mut asked = Vec::new();
    for prompt in prompts {
        asked.push(ask(vec![Message::user(*prompt)]).await);
    }
    let codes: Vec<String> = asked
        .iter()
        .map(|reply| reply.calls.first().map_or(String::new(), |call| parse_execute_python(call).unwrap()))
        .collect();
    let mut answers = Vec::new();
    for ((prompt, reply), result) in prompts.iter().zip(asked).zip(run(&codes)) {
        let Some(call) = reply.calls.first().cloned() else {
            answers.push(None);
            continue;
        };
        let answer =
            ask(vec![Message::user(*prompt), reply.into_message(), Message::tool_result(&call, result)])
                .await;
        assert!(answer.calls.is_empty() && answer.text.contains(DEMO_MODEL), "{prompt}: {answer:?}");
        answers.push(Some(answer.text));
    }
    answers
}

#[tokio::test]
async fn prompts_are_answered_by_what_their_code_prints() {
    let cases = [
        // Factorials.
        ("Calculate 5 factorial using Python", "5! = 120"),
        ("calculate 7 factorial", "7! = 5040"),
        ("What is the factorial of 10?", "10! = 3628800"),
        ("12!", "12! = 479001600"),
        ("Compute the factorials of 3, 4 and 6", "6! = 720"),
        ("five factorial please", "5! = 120"),
        ("Could you work out twenty factorial with Python?", "20! = 2432902008176640000"),
        ("factorial of 1,000", "1000! has 2568 digits: 40238726007709377354..."),
        // Primes.
        ("Use Python to find all prime numbers under 20", "2, 3, 5, 7, 11, 13, 17, 19 (8 in all)"),
        ("List the primes below 30", "23, 29 (10 in all)"),
        ("Which prime numbers are smaller than 12?", "2, 3, 5, 7, 11 (5 in all)"),
        ("primes up to 13", "11, 13 (6 in all)"),
        ("find all primes between 10 and 30", ": 11, 13, 17, 19, 23, 29 (6"),
        ("What are the first 5 primes?", "2, 3, 5, 7, 11"),
        ("first ten prime numbers", "23, 29 (10 in all)"),
        ("What is the 100th prime number?", "541"),
        ("How many primes are there below 1,000?", "count: 168"),
        ("What is the sum of all primes less than 10?", "sum: 17"),
        ("What is the largest prime below 100?", "maximum: 97"),
        ("Is 97 a prime number?", "97 is prime."),
        ("Check whether 91 is prime", "91 is not prime: it is divisible by 7."),
        ("list every prime below 40", "31, 37 (12 in all)"),
        // Other sequences.
        ("sum of the first 6 squares", "sum: 91"),
        ("Create a list of the first 10 squares and calculate their sum", "sum: 385"),
        (
            "Create a list of the first 10 squares and calculate their sum",
            "1, 4, 9, 16, 25, 36, 49, 64, 81, 100",
        ),
        ("Make a list of the first seven cubes and add them up", "sum: 784"),
        ("Sum of the squares of the first 10 natural numbers", "sum: 385"),
        ("squares from 1 to 5", "squares of numbers from 1 to 5: 1, 4, 9, 16, 25"),
        ("square numbers between 10 and 50", ": 16, 25, 36, 49 (4"),
        ("squares below 50", "1, 4, 9, 16, 25, 36, 49 (7"),
        ("What is the sum of the even numbers from 2 to 20?", "sum: 110"),
        ("even numbers between -4 and 4", "-4, -2, 0, 2, 4"),
        ("first 5 odd numbers and their mean", "mean: 5"),
        ("first 10 Fibonacci numbers", "0, 1, 1, 2, 3, 5, 8, 13, 21, 34"),
        ("What is the tenth Fibonacci number?", "number 10: 55"),
        ("the first 4 triangular numbers", "1, 3, 6, 10"),
        ("powers of 2 up to 100", "1, 2, 4, 8, 16, 32, 64"),
        ("first 5 multiples of 7", "7, 14, 21, 28, 35"),
        ("numbers divisible by 6 under 20", "6, 12, 18 (3"),
        ("Add up all integers from 1 to 100", "sum: 5050"),
        ("sum of the numbers from 1 to 10", "sum: 55"),
        ("average of the first 100 numbers", "mean: 50.5"),
        ("first 6 factorials", "1, 2, 6, 24, 120, 720"),
        // Statistics.
        (
            "Calculate the standard deviation of [2, 4, 4, 4, 5, 5, 7, 9]",
            "standard deviation (population): 2\n",
        ),
        (
            "Calculate the standard deviation of [2, 4, 4, 4, 5, 5, 7, 9]",
            "standard deviation (sample): 2.138",
        ),
        ("What's the population standard deviation of 1, 2, 3, 4?", "(population): 1.11803398875"),
        ("standard deviation of 1, 1, 1, 1", "standard deviation (population): 0"),
        ("std dev of [1.5, -2.5, 10]", "(sample): 6.3835726674"),
        ("mean and median of 4, 8, 15, 16, 23 and 42", "mean: 18\nmedian: 15.5"),
        ("What is the average of 10, 20 and 40?", "mean: 23.3333333333"),
        ("mode of [1, 2, 2, 3]", "mode: 2"),
        ("variance of [1,2,3,4,5]", "variance (sample): 2.5"),
        ("find the minimum, the maximum and the range of [3, -7, 12]", "range: 19"),
        ("sum of 0.1 and 0.2", "sum: 0.3"),
        ("the product of 6 and 7", "product: 42"),
        ("What is the mean of 1,000 and 2,000?", "mean: 1500"),
        ("median of twenty-five, 30 and one hundred", "median: 30"),
        ("summary statistics for [1, 2, 3]", "median: 2"),
        ("sum of [100,200,300]", "sum: 600"),
        // Arithmetic.
        ("What is 17*23+4?", "= 395"),
        ("compute (2+3)^4 / 7", "= 89.2857142857"),
        ("Compute 2 ** 10", "= 1024"),
        ("What is 15% of 240?", "= 36"),
        ("what is 1,234 plus 766", "= 2000"),
        ("twenty five times four", "= 100"),
        ("square root of 144", "= 12"),
        ("sqrt(2) * sqrt(8)", "= 4"),
        ("What's 7 squared minus 1", "= 48"),
        ("-2^2", "= -4"),
        ("5! / 3!", "= 20"),
        ("10 divided by 4", "= 2.5"),
        ("2 to the power of 100", "= 1267650600228229401496703205376"),
        ("17 % 5", "= 2"),
        ("sin(pi / 2) + cos(0)", "= 2"),
        ("gcd(12, 18)", "= 6"),
        ("Evaluate 3 - -5", "= 8"),
        // Sorting and searching.
        ("Implement a binary search function and test it with a sorted array", "All tests passed."),
        ("Write a binary search function and test it", "binary search"),
        ("Use binary search to find 7 in [1, 3, 7, 9, 12]", "7 is at index 2"),
        ("Implement binary search and test it on [1, 4, 9, 16, 25] looking for 16", "16 is at index 3"),
        ("multiply 6 by 7", "product: 42"),
        ("I'd like the standard deviation of the first 10 natural numbers", "(sample): 3.02765"),
        ("binary search for 8 in [1, 3, 7]", "8 is not in the list"),
        ("Implement bubble sort and test it with [5, 3, 9, 1]", "Sorted with bubble_sort: [1, 3, 5, 9]"),
        ("Write quicksort in Python and try it on [3, 1, 2]", "Sorted with quick_sort: [1, 2, 3]"),
        ("implement merge sort", "[3, 9, 10, 27, 38, 43, 82]"),
        ("merge sort of 4, 2 and 3", "Sorted with merge_sort: [2, 3, 4]"),
        ("use binary search to find 9 in 9, 3, 5", "9 is at index 2"),
        ("What is 2 + 3 and 4 * 5?", "4*5 = 20"),
        ("primes up to one hundred", "97 (25 in all)"),
        ("the second prime", "number 2: 3"),
        ("Sort [3, -1, 2.5] in descending order", "[3, 2.5, -1]"),
        // Sales.
        ("Generate sample sales data for 12 months and calculate quarterly totals", "Q4: "),
        ("Create random sales figures for 24 months and sum them per quarter", "year 2 Q4: "),
        ("Simulate monthly revenue for 5 months with quarterly totals", "(2 month(s) only)"),
        ("make up sample sales data for two years with quarterly totals", "24 months"),
        // Fences.
        ("Run this:\n```python\nprint(6 * 7)\n```", "42"),
        ("Please write a poem and run\n```\nprint('ok')\n```", "ok"),
        ("```py\na = 1\n```\nand then\n```py\nprint(a + 1)\n```", "2"),
    ];
    let prompts: Vec<&str> = cases.iter().map(|case| case.0).collect();
    let mut failures = Vec::new();
    for ((prompt, figure), answer) in cases.iter().zip(turns(&prompts).await) {
        match answer {
            Some(answer) if answer.contains(figure) => {}
            other => failures.push(format!("{prompt}: {figure:?} is not in {other:?}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn what_is_not_fully_understood_is_refused() {
    let prompts = [
        "Write a poem about 5 factorial primes in my garden",
        "Write a haiku about 5 factorial",
        "Tell me a story about prime numbers under 20",
        "What is the weather in Paris?",
        "Who invented binary search?",
        "Why is 7 prime?",
        "prime factors of 84",
        "find 3 and 5 using binary search",
        "binary search for 4, 2, 3 and 9",
        "quartiles of [1, 2, 3, 4]",
        "mean of two hundred 5 and 6",
        "2 3 + 4",
        "sort []",
        "insertion sort of 4, 2 and 3",
        "primes between 3 and 20 up to 10",
        "square the sum of the first 10 numbers",
        "sum of the squares of the primes below 20",
        "second largest prime below 100",
        "second prime below 100",
        "sum of the digits of 5 factorial",
        "Find the twin primes below 100",
        "primes above 100",
        "numbers that are not prime under 20",
        "even primes under 20",
        "the square of the sum of the first 10 numbers",
        "Implement a binary search tree",
        "Implement bubble sort and merge sort",
        "Convert 100 dollars to euros",
        "What is 5 factorial plus the number of my house?",
        "mean of the column price",
        "the first primes",
        "How old is the universe in years?",
        "Translate 'square root of 9' into French",
        "Delete all files under 20 MB",
        "standard deviation",
        "mean of 5",
        "mean of 3 numbers 1, 2 and 3",
        "Plot my sales",
        "2 +",
        "17",
        "x + 1",
        "sort apple, pear and plum",
        "Is it true that sales fell for 12 months?",
        "factorial of x",
        "__import__('os').system('id') + 1",
        "1 + open('/etc/passwd').read()",
        "12 monthly sales",
        "Run\n```bash\nls\n```",
        "",
        "hello",
        "Describe the attached file",
    ];
    let mut accepted = Vec::new();
    for prompt in prompts {
        if let Some(code) = code(prompt).await {
            accepted.push(format!("{prompt}:\n{code}\n"));
        }
    }
    assert!(accepted.is_empty(), "{}", accepted.join("\n"));
}

#[tokio::test]
async fn a_refusal_is_one_sentence_that_says_how_to_connect_a_model() {
    let reply = ask(vec![Message::user("Write a sonnet")]).await;
    for way in ["reckon models show demo", "reckon init", "OPENAI_BASE_URL", "Ollama", "not a language model"]
    {
        assert!(reply.text.contains(way), "{}", reply.text);
    }
    assert_eq!(reply.text.matches(". ").count(), 0, "one sentence: {}", reply.text);
}

#[tokio::test]
async fn code_that_refuses_or_fails_is_quoted_and_no_result_is_claimed() {
    let prompts = [
        "factorial of 100000",
        "factorial of -3",
        "primes below 100,000,000",
        "the 2000000th prime",
        "Is 1000000000000007 prime?",
        "sample sales for 500 months",
        "1 / 0",
        "sqrt(-1)",
        "2 * * 3",
    ];
    for (prompt, answer) in prompts.iter().zip(turns(&prompts).await) {
        let answer = answer.unwrap_or_else(|| panic!("{prompt} was refused"));
        assert!(answer.starts_with("The code failed: "), "{prompt}: {answer}");
        assert!(!answer.contains(" = "), "{prompt}: {answer}");
    }
}

#[tokio::test]
async fn plots_hold_only_the_formula_and_its_range() {
    let cases = [
        ("Plot sin(x) * x from -5 to 5", "[(\"sin(x)*x\", sin(x) * x)]", "linspace(-5, 5, 400)"),
        ("plot sin(x)*x between 0 and 2*pi", "sin(x) * x", "linspace(0, 2 * pi, 400)"),
        (
            "Draw the graph of y = 2x^2 - 3x + 1 for x from -1 to 4",
            "2 * x ** 2 - 3 * x + 1",
            "linspace(-1, 4, 400)",
        ),
        ("Plot f(x) = exp(-x^2)", "exp(-x ** 2)", "linspace(-10, 10, 400)"),
        ("graph x^3 and x^2 over [-2, 2]", "(\"x^3\", x ** 3), (\"x^2\", x ** 2)", "linspace(-2, 2, 400)"),
        ("Plot a sine wave from 0 to 6.28", "(\"sin(x)\", sin(x))", "linspace(0, 6.28, 400)"),
        ("Plot (x + 1)(x - 1)", "(x + 1) * (x - 1)", "linspace(-10, 10, 400)"),
    ];
    for (prompt, curve, range) in cases {
        let code = code(prompt).await.unwrap_or_else(|| panic!("{prompt} was refused"));
        assert!(code.contains(curve) && code.contains(range), "{prompt}:\n{code}");
        assert!(run(&[format!("compile({code:?}, 'plot', 'exec')")])[0].starts_with("[exit: ok]"));
    }
}

#[tokio::test]
async fn an_attached_table_is_described_and_plotted() {
    let attached = "Describe and plot data, v2 (1).csv\n\nAttached files: /workspace/notes.txt (7 B), /workspace/data, v2 (1).csv (12 kB)";
    let code = code(attached).await.unwrap();
    assert!(code.contains("read_csv(\"/workspace/data, v2 (1).csv\""), "{code}");
    assert!(code.contains("describe(") && code.contains("plt.show()"), "{code}");
    for prompt in [
        "Analyze this CSV file",
        "What is in this dataset? Summarize it.",
        "plot the columns of the attached table",
    ] {
        let message = format!("{prompt}\n\nAttached files: /workspace/data.csv (12 kB)");
        assert!(self::code(&message).await.unwrap().contains("pd.read_csv"), "{prompt}");
    }
    let other = "What is 2 + 3?\n\nAttached files: /workspace/data.csv (12 kB)";
    assert!(self::code(other).await.unwrap().contains("(\"2+3\", 2 + 3)"));
    let unknown = "Which customer paid late?\n\nAttached files: /workspace/data.csv (12 kB)";
    assert_eq!(self::code(unknown).await, None);
}

#[tokio::test]
async fn the_answer_quotes_the_tool_and_nothing_else() {
    let user = Message::user("Calculate 5 factorial");
    let reply = ask(vec![user.clone()]).await;
    let call = reply.calls[0].clone();
    let told =
        |text: &str| vec![user.clone(), reply.clone().into_message(), Message::tool_result(&call, text)];
    let cases = [
        ("[exit: ok]  [wall 0.42 s]  [cell 3]\nstdout:\nmade up: 77", "made up: 77"),
        ("[exit: ok]  [wall 0.42 s]  [cell 3]\nstdout:\na\nstderr:\nwarning\nresult: 'b'", "a\n'b'"),
        (
            "[exit: ok]  [wall 0.42 s]  [cell 3]\nresult:\n   a\n0  1\n(One more call is possible; then you have to answer.)",
            "   a\n0  1",
        ),
        (
            "[exit: ok]  [wall 0.42 s]  [cell 3]\n(no output; the last line was not an expression. Use print().)",
            "The code ran and printed nothing.",
        ),
        (
            "[exit: ok]  [wall 0.42 s]  [cell 3]\nstdout:\nx\nimage displayed to the user (PNG 640x480), saved as /workspace/plot.png\nfiles: /workspace/my plot.png (PNG 23 kB, new)",
            "x\n\nFiles: [my plot.png](sandbox:/workspace/my%20plot.png)",
        ),
        (
            "[exit: error]  [wall 0.42 s]  [cell 3]\nstdout:\n120\nTraceback (most recent call last):\n  Cell In[3], line 1\nValueError: no",
            "The code failed: ValueError: no",
        ),
        (
            "[exit: timeout]  [wall 120.00 s]  [cell 3]\nstdout:\n120\nThe time limit was reached: interrupted, variables kept.",
            "The code did not finish (timeout): The time limit was reached: interrupted, variables kept.",
        ),
        ("Traceback (most recent call last):\nKeyError: 'a'", "The code failed: KeyError: 'a'"),
    ];
    for (result, answer) in cases {
        assert_eq!(ask(told(result)).await.text, format!("{answer}\n\n(Answered by the {DEMO_MODEL}.)"));
    }
}

#[tokio::test]
async fn it_speaks_like_a_wire_and_works_on_the_last_prompt() {
    let history = vec![
        Message::user("Calculate 5 factorial"),
        Message::Assistant { text: "120".to_owned(), reasoning: String::new(), calls: Vec::new() },
        Message::user("And now 6 factorial"),
    ];
    let reply = ask(history.clone()).await;
    assert!(parse_execute_python(&reply.calls[0]).unwrap().contains("in [6]"));
    assert_eq!(reply.finish, Some(reckon_model::Finish::Calls));
    let forbidden = Request { tool_choice: ToolChoice::None, ..request(history) };
    assert!(Reply::collect(DemoPlanner.ask(forbidden)).await.unwrap().calls.is_empty());
    let mut reply = Reply::default();
    reply.absorb(&Delta::Text("a".to_owned()));
    assert_eq!(reply.text, "a");
}

#[tokio::test]
async fn every_listed_example_works() {
    assert!(intents().len() >= 10);
    for intent in intents() {
        let prompt = format!("{}\n\nAttached files: /workspace/data.csv (1 kB)", intent.example);
        let prompt = prompt.replace("(with -f data.csv)", "");
        assert!(code(&prompt).await.is_some(), "{}: {}", intent.name, intent.example);
        assert!(intent.description.ends_with('.'), "{}", intent.description);
    }
}
