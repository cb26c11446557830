// Requests to the API. Error responses are thrown as a Problem with cause and hint.

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
    throw new Problem({ detail: "The server did not respond.", code: "api_unreachable", hint: "Check that it is running, then try again." });
  }
  return answer(response.status, await response.text());
}

// The JSON body of a response; an error response is thrown as a Problem.
export function answer(status, text) {
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    body = { detail: `HTTP ${status}`, code: "api_error", hint: "The response did not come from a Shoal API." };
    if (status < 400) throw new Problem(body);
  }
  if (status === 401) body = { ...body, detail: "Your session has expired.", hint: "Log in again." };
  if (status >= 400) throw new Problem(body);
  return body;
}
