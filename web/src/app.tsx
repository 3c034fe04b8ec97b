import { useEffect } from 'preact/hooks';
import { Header } from './components/header.tsx';
import { closeSession } from './job-session.ts';
import { lazy } from './lazy.tsx';
import { JobPage } from './pages/job.tsx';
import { JobListPage } from './pages/job-list.tsx';
import { SignInPage } from './pages/sign-in.tsx';
import { route } from './router.ts';
import { sharedJob, token } from './session.ts';

const NewJobPage = lazy(async () => (await import('./pages/new-job.tsx')).NewJobPage);
const SharedPage = lazy(async () => (await import('./pages/shared.tsx')).SharedPage);
const GroupPage = lazy(async () => (await import('./pages/group.tsx')).GroupPage);

export function App() {
  const shared = sharedJob.value;
  const signedIn = token.value !== null && shared === null;
  return (
    <>
      <a class="skip-link" href="#main" onClick={skipToMain}>
        Skip to the content
      </a>
      <Header signedIn={signedIn} />
      <main id="main" tabIndex={-1}>
        {shared !== null ? <SharedPage id={shared} /> : signedIn ? <Page /> : <SignInPage />}
      </main>
    </>
  );
}

/** The address after # is the route, so the jump is made by hand. */
function skipToMain(event: Event): void {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

function Page() {
  const current = route.value;
  const jobId = current.page === 'job' ? current.id : null;
  useEffect(() => {
    if (jobId === null) closeSession();
  }, [jobId]);
  // Signed out: nothing may go on asking with a token that is gone.
  useEffect(() => closeSession, []);
  if (current.page === 'job') return <JobPage key={current.id} id={current.id} step={current.step} />;
  if (current.page === 'new') return <NewJobPage key={current.from ?? ''} from={current.from} />;
  if (current.page === 'group') return <GroupPage key={current.id} id={current.id} />;
  return <JobListPage />;
}
