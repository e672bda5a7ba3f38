// Facts -> job -> poll -> verdicts -> download, with types that are made from openapi.json.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Job = components["schemas"]["JobRead"];
type Method = components["schemas"]["MixsdMethod"];

const client = createClient<paths>({ baseUrl: "http://127.0.0.1:8000", headers: { Authorization: "Bearer mixsd_" } });

export async function teach(facts: components["schemas"]["Fact"][]): Promise<Blob> {
  const stored = await client.POST("/fact-sets", { body: { name: "rivers", facts } });
  if (stored.error) throw new Error(`${stored.error.code}: ${stored.error.detail}`);

  const method: Method = { type: "mixsd", lam: 0.3 };
  const made = await client.POST("/jobs", {
    params: { header: { "Idempotency-Key": "one-of-mine" } },
    body: { base_model: "smollm2-135m-instruct", fact_set_id: stored.data.id, method },
  });
  if (made.error) throw new Error(made.error.detail);

  let job: Job = made.data;
  while (!job.terminal) {
    const read = await client.GET("/jobs/{job_id}", { params: { path: { job_id: job.id } } });
    if (read.error) throw new Error(read.error.detail);
    job = read.data;
  }
  if (job.adapter_id === null) throw new Error(job.error?.message ?? job.status);

  const verdicts = await client.GET("/jobs/{job_id}/facts", {
    params: { path: { job_id: job.id }, query: { outcome: "learned", limit: 100 } },
  });
  for (const fact of verdicts.data?.data ?? []) console.log(fact.key, fact.asked[0]?.adapter_answer ?? "no answer");

  const file = await client.GET("/adapters/{adapter_id}/download", {
    params: { path: { adapter_id: job.adapter_id }, query: { format: "zip" } },
    parseAs: "blob",
  });
  if (file.error) throw new Error(file.error.detail);
  return file.data;
}

// @ts-expect-error  a status that there is none of
export const wrong: Job["status"] = "sleeping";
