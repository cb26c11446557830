// Uploads by tus 1.0: what breaks off continues, also after the page was closed. The browser keeps
// where an upload is at the API, until that is forgotten.

import { Problem, answer, request } from "./http.js";
import "./tus/tus.min.js";

const ENDPOINT = "/uploads/resumable";
const PAUSES_MS = [1, 2, 5, 10, 20, 30, 30, 60].map((seconds) => 1000 * seconds); // while no byte is new
const PASSING = [0, 409, 423, 502, 503, 504]; // no answer; another request is at it; a proxy is away
const { tus } = window;

// Send a file, or the rest of it. Gives { done, stop }: a promise of what the API says of it when it
// is stored, and stop(discard), which ends the upload; with discard nothing is left to continue.
export function upload(file, onProgress) {
  let sending;
  let stop;
  const done = new Promise((resolve, reject) => {
    sending = new tus.Upload(file, {
      endpoint: ENDPOINT,
      metadata: { filename: file.name },
      retryDelays: PAUSES_MS,
      onShouldRetry: (error) => PASSING.includes(statusOf(error)),
      onProgress,
      onSuccess: () => resolve(request("GET", sending.url)),
      onError: (error) => reject(problemOf(error)),
    });
    let isStopped = false;
    stop = (discard) => {
      isStopped = true;
      reject(new Problem({ detail: "Upload cancelled.", code: "cancelled", hint: "" }));
      return sending.abort(discard);
    };
    sending.findPreviousUploads().then(([earlier]) => {
      if (earlier) sending.resumeFromPreviousUpload(earlier);
      if (!isStopped) sending.start();
    }, reject);
  });
  return { done, stop };
}

// Uploads that broke off: { name, size, at (bytes that are stored), key, url }.
export async function unfinished() {
  const known = await tus.defaultOptions.urlStorage.findAllUploads();
  const found = await Promise.all(known.map(async ({ metadata, size, uploadUrl: url, urlStorageKey: key }) => {
    const response = await fetch(url, { method: "HEAD", headers: { "Tus-Resumable": "1.0.0" } });
    if (response.status === 404) await forget(key);
    const at = Number(response.headers.get("Upload-Offset"));
    return response.ok ? { name: metadata.filename, size, at, key, url } : null;
  }));
  return found.filter((each) => each && each.at < each.size);
}

// Delete what is stored of an upload that broke off.
export async function discard({ key, url }) {
  await tus.Upload.terminate(url).catch((error) => {
    if (statusOf(error) !== 404) throw problemOf(error);
  });
  await forget(key);
}

// A file was submitted: choosing it again is another upload.
export async function forgetFile(file) {
  const known = await new tus.Upload(file, { endpoint: ENDPOINT }).findPreviousUploads();
  for (const each of known) await forget(each.urlStorageKey);
}

function forget(key) {
  return tus.defaultOptions.urlStorage.removeUpload(key);
}

function statusOf(error) {
  return error.originalResponse?.getStatus() ?? 0;
}

function problemOf(error) {
  if (statusOf(error) >= 400) {
    try {
      answer(statusOf(error), error.originalResponse.getBody());
    } catch (problem) {
      return problem;
    }
  }
  const hint = "Choose the same file again: the upload continues where it stopped.";
  return new Problem({ detail: "Upload interrupted.", code: "api_unreachable", hint });
}
