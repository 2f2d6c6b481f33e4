@echo off
rem Finds a Python that can run the WebUI and starts launch.py with it. Makes nothing itself.
rem Settings go into webui-user.bat (see webui-user.bat.template), which calls this file.
setlocal
cd /d "%~dp0"

set "found="
set "any="
echo " %COMMANDLINE_ARGS% %* " | findstr /c:" --skip-python-version-check " >nul && set "any=any"
set "modules=sys, ensurepip, venv"
if "%VENV_DIR%"=="-" set "modules=sys"

if not defined PYTHON goto :search
rem The path may or may not be quoted, and may hold spaces and parentheses.
set "python_cmd=%PYTHON:"=%"
if exist "%python_cmd%" set python_cmd="%python_cmd%"
call :try %python_cmd%
if defined found goto :start
echo PYTHON names %python_cmd%, which is not a working 64-bit Python 3.10 to 3.13. 1>&2
goto :missing

:search
rem py is Python's own launcher; python may be a stub that opens the Microsoft Store.
for %%c in ("py -3.12" "py -3.11" "py -3.13" "py -3.10" "python" "python3" "venv\Scripts\python.exe") do (
    if not defined found call :try %%~c
)
if not defined found goto :missing

:start
%found% launch.py %*
set "status=%ERRORLEVEL%"
if not "%status%"=="0" if not defined CI pause
exit /b %status%

:try
%* -c "import %modules%; sys.exit(not (sys.maxsize > 2**32 and (len(sys.argv) > 1 or (3, 10) <= sys.version_info[:2] <= (3, 13))))" %any% >nul 2>nul
if not errorlevel 1 set "found=%*"
exit /b 0

:missing
echo The WebUI needs a 64-bit Python 3.10 to 3.13: install 3.12 from https://www.python.org/downloads/windows/ and tick 'Add python.exe to PATH'. 1>&2
if not defined CI pause
exit /b 1
