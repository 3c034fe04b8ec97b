import { useSignal } from '@preact/signals';
import { signIn } from '../session.ts';

export function SignInPage() {
  const value = useSignal('');
  const submit = (event: Event): void => {
    event.preventDefault();
    if (value.value.trim() !== '') signIn(value.value.trim());
  };
  return (
    <form class="sign-in card" onSubmit={submit}>
      <h1>Sign in to this agent</h1>
      <p>
        The agent printed its token when it started for the first time. It also stands in the file <code>token</code> of
        its state directory.
      </p>
      <div class="field">
        <label for="token">Token</label>
        <input
          id="token"
          type="password"
          autocomplete="current-password"
          spellcheck={false}
          required
          data-testid="token"
          value={value.value}
          onInput={(event) => (value.value = event.currentTarget.value)}
        />
      </div>
      <button type="submit" class="primary">
        Sign in
      </button>
      <p class="muted">The token stays in this tab and is forgotten when it closes.</p>
    </form>
  );
}
