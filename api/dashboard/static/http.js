// Requests to the API: what it refuses is thrown as its cause and hint.

export class Problem extends Error {
  constructor(problem) {
    super(problem.detail);
    this.code = problem.code;
    this.hint = problem.hint;
  }
}

export async function request(method, url, body) {
  const options = { method };
  if (body !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(url, options);
  } catch {
    throw new Problem({ detail: "No answer from the API.", code: "api_unreachable", hint: "Is it running? Try again." });
  }
  return answer(response.status, await response.text());
}

// The body of an answer, or the problem that it tells of.
export function answer(status, text) {
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    body = { detail: `HTTP ${status}`, code: "api_error", hint: "The answer is not one of a Shoal API." };
    if (status < 400) throw new Problem(body);
  }
  if (status >= 400) throw new Problem(body);
  return body;
}
